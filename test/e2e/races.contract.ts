import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService, ChallengeState, RefusalReason } from '#src/gen/sallyport/v1/challenge_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { enrolledPerson, openTransfer, TRANSFER } from '../support/people.ts';

/** What the races are run against: one sidecar, or several that act as one. */
export interface RaceTrack extends AsyncDisposable {
  /** Connections, one after the other to each sidecar. */
  readonly clients: readonly GrpcClient[];
  readonly operator: GrpcClient;
  /** Of all sidecars together. */
  metric(name: string): Promise<number>;
}

const times = (count: number) => Array.from({ length: count }, (_, index) => index);
const totp = (code: string) => ({
  case: 'proof' as const,
  value: { kind: { case: 'totp' as const, value: { code } } },
});

/** The races of the core, whoever runs it. */
export function describeRaces(name: string, start: () => Promise<RaceTrack>): void {
  describe(`races through ${name}`, () => {
    let track: RaceTrack;
    const client = (index = 0) => {
      const chosen = track.clients[index % track.clients.length];
      if (!chosen) throw new Error('no client');
      return chosen;
    };
    /** Events reach the trail that all sidecars share a moment after they are durable. */
    const eventsOf = (subject: string, type: string, count: number) =>
      vi.waitFor(
        async () => {
          const { events } = await track.operator.unary(AuditService.method.queryEvents, {
            filter: { subject, types: [type] },
          });
          expect(events).toHaveLength(count);
        },
        { timeout: 10_000, interval: 100 },
      );

    beforeAll(async () => {
      track = await start();
    });
    afterAll(async () => {
      await track[Symbol.asyncDispose]();
    });

    it('lets exactly one of 100 parallel submissions of one valid code win, over several challenges', async () => {
      const person = await enrolledPerson(client(), 'one-code');
      const challenges = await Promise.all(times(4).map(() => openTransfer(client(), person)));
      const code = person.nextCode();
      const answers = await Promise.all(
        times(100).map((index) =>
          client(index)
            .unary(ChallengeService.method.answerChallenge, {
              challengeId: challenges[index % challenges.length] ?? '',
              sessionToken: person.token,
              step: totp(code),
            })
            .then((reply) => reply.result.case ?? 'none', errorInfo),
        ),
      );
      const approved = await Promise.all(
        challenges.map((challengeId) =>
          client().unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: person.token }),
        ),
      );
      expect(approved.filter((reply) => reply.challenge?.state === ChallengeState.APPROVED)).toHaveLength(1);
      // A caller that comes after the end is told the end; only the challenge's own approval is a success.
      await eventsOf('one-code', 'challenge.approved', 1);
      expect(answers).toHaveLength(100);
    });

    it('evaluates at most 5 of 200 parallel wrong guesses, over unary calls, streams and fresh challenges', async () => {
      const person = await enrolledPerson(client(), 'guessed');
      const challenges = await Promise.all(times(8).map(() => openTransfer(client(), person)));
      const before = await track.metric('sallyport_proofs_total{method="totp",result="wrong"}');
      const wrong = (index: number) => String(index).padStart(6, '0');
      await Promise.all(
        times(200).map((index) => {
          const challengeId = challenges[index % challenges.length] ?? '';
          if (index % 3 !== 0) {
            return client(index)
              .unary(ChallengeService.method.answerChallenge, {
                challengeId,
                sessionToken: person.token,
                step: totp(wrong(index)),
              })
              .catch(() => undefined);
          }
          return new Promise<void>((resolve) => {
            const stream = client(index).bidi(ChallengeService.method.verifyChallenge);
            stream.on('data', (message) => {
              if (message.event.case === 'refused' || message.event.case === 'finished') stream.end();
            });
            stream.on('end', resolve);
            stream.on('error', () => resolve());
            stream.write({ command: { case: 'resume', value: { challengeId, sessionToken: person.token } } });
            stream.write({
              command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: { code: wrong(index) } } } } },
            });
          });
        }),
      );
      const evaluated = (await track.metric('sallyport_proofs_total{method="totp",result="wrong"}')) - before;
      expect(evaluated).toBeGreaterThan(0);
      expect(evaluated).toBeLessThanOrEqual(5);
      // And the right code is refused too now, on a new challenge.
      const fresh = await openTransfer(client(), person).catch(errorInfo);
      if (typeof fresh === 'string') {
        const answer = await client()
          .unary(ChallengeService.method.answerChallenge, {
            challengeId: fresh,
            sessionToken: person.token,
            step: totp(person.nextCode()),
          })
          .catch(errorInfo);
        if ('result' in answer) {
          expect(answer.result.case === 'finished' ? answer.result.value.challenge?.state : undefined).not.toBe(
            ChallengeState.APPROVED,
          );
        }
      }
      await eventsOf('guessed', 'subject.locked', 1);
    });

    it('never has more than 5 sessions under 50 parallel logins', async () => {
      await Promise.all(
        times(50).map((index) => client(index).unary(SessionService.method.createSession, { subject: 'crowd' })),
      );
      const { sessions } = await client().unary(SessionService.method.listSessions, { subject: 'crowd' });
      expect(sessions).toHaveLength(5);
      await eventsOf('crowd', 'session.ended', 45);
    });

    it('redeems a receipt once out of 50 parallel calls', async () => {
      const person = await enrolledPerson(client(), 'receipt');
      const challengeId = await openTransfer(client(), person);
      const answered = await client().unary(ChallengeService.method.answerChallenge, {
        challengeId,
        sessionToken: person.token,
        step: totp(person.nextCode()),
      });
      if (answered.result.case !== 'finished') throw new Error('not approved');
      const receipt = answered.result.value.receipt?.token ?? '';
      const outcomes = await Promise.all(
        times(50).map((index) =>
          client(index)
            .unary(ChallengeService.method.redeemReceipt, {
              receipt,
              subject: 'receipt',
              sessionToken: person.token,
              action: TRANSFER,
            })
            .then(
              () => 'redeemed' as const,
              (error: unknown) => errorInfo(error).reason,
            ),
        ),
      );
      expect(outcomes.filter((outcome) => outcome === 'redeemed')).toHaveLength(1);
      expect(outcomes.filter((outcome) => outcome === 'RECEIPT_REDEEMED')).toHaveLength(49);
    });

    it('answers repeats of one request id with one challenge, one session and one attempt', async () => {
      const person = await enrolledPerson(client(), 'repeats');
      const requestId = '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51';
      const ids = await Promise.all(times(10).map((index) => openTransfer(client(index), person, { requestId })));
      expect(new Set(ids).size).toBe(1);
      const sessions = await Promise.all(
        times(10).map((index) =>
          client(index).unary(SessionService.method.createSession, { subject: 'repeats', requestId }),
        ),
      );
      expect(new Set(sessions.map((reply) => reply.token)).size).toBe(1);
      const wrong = await Promise.all(
        times(10).map((index) =>
          client(index).unary(ChallengeService.method.answerChallenge, {
            challengeId: ids[0] ?? '',
            sessionToken: person.token,
            requestId: '0b8c2c5e-7a44-4b0b-9c7e-1d2f3a4b5c6d',
            step: totp('000000'),
          }),
        ),
      );
      for (const reply of wrong)
        expect(reply.result).toMatchObject({
          case: 'refused',
          value: { attemptsLeft: 4, reason: RefusalReason.PROOF_WRONG },
        });
    });
  });
}
