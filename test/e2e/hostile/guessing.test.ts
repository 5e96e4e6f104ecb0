import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { ChallengeService, ChallengeState, RefusalReason } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { connectCall } from '../../support/connect-call.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { watchHarm } from '../../support/harm-watch.ts';
import { CONSENT, enrolledPerson, openTransfer, type Person, signIn } from '../../support/people.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, approvedTransfer, backupCode, changeReceipt, totp } from '../../support/step-up.ts';
import { oathtoolCode } from '../../support/totp-code.ts';
import { eventually, factOf, trailOf } from '../../support/trail-of.ts';

const EXHAUSTED = 8;
const DENIED = 7;

/** Wrong proofs that were looked at, since the start of the process. */
const looked = (sidecar: Sidecar) => sidecar.metric('sallyport_proofs_total{method="totp",result="wrong"}');

/** A code that is not one of the person's in the window. */
function wrongCode(person: Person, salt = 0): string {
  const right = new Set([-2, -1, 0, 1, 2].map((steps) => oathtoolCode(person.key, steps)));
  for (let value = 100_000 + salt; ; value += 1) if (!right.has(String(value))) return String(value);
}

describe('whatever happens between guesses', () => {
  it('never gives more than five: resend, new challenge, new sign-in, cut streams, other ways in, kill -9', async () => {
    let sidecar = await Sidecar.start();
    const { dataDir, ports } = sidecar;
    try {
      const client = sidecar.client();
      const person = await enrolledPerson(client, 'victim');
      const challenge = await openTransfer(client, person);
      const counted: number[] = [];

      counted.push((await answer(client, challenge, person.token, totp(wrongCode(person, 1)))).attemptsLeft);

      // Resending and choosing again is no way back.
      const resent = await client
        .unary(ChallengeService.method.answerChallenge, {
          challengeId: challenge,
          sessionToken: person.token,
          step: { case: 'resend', value: {} },
        })
        .catch(errorInfo);
      expect(resent).toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
      await client.unary(ChallengeService.method.answerChallenge, {
        challengeId: challenge,
        sessionToken: person.token,
        step: { case: 'choose', value: { method: Method.TOTP } },
      });
      counted.push((await answer(client, challenge, person.token, totp(wrongCode(person, 2)))).attemptsLeft);

      // Nor is cancelling, another challenge, another session, or the other transport.
      await client.unary(ChallengeService.method.cancelChallenge, {
        challengeId: challenge,
        sessionToken: person.token,
        reason: 'again',
      });
      const again = { ...person, ...(await signIn(client, 'victim')) };
      const second = await openTransfer(client, again);
      const overHttp = await connectCall(sidecar.httpUrl, `${ChallengeService.typeName}/AnswerChallenge`, {
        challengeId: second,
        sessionToken: again.token,
        proof: { totp: { code: wrongCode(person, 3) } },
      });
      counted.push((overHttp.body['refused'] as { attemptsLeft?: number } | undefined)?.attemptsLeft ?? -1);

      // A stream that is cut as soon as it has asked.
      const stream = client.bidi(ChallengeService.method.verifyChallenge);
      stream.on('error', () => {});
      const refused = new Promise<void>((resolve) => {
        stream.on('data', ({ event }) => {
          if (event.case === 'refused') {
            counted.push(event.value.attemptsLeft);
            resolve();
          }
        });
      });
      stream.write({ command: { case: 'resume', value: { challengeId: second, sessionToken: again.token } } });
      stream.write({ command: { case: 'answer', value: { proof: totp(wrongCode(person, 4)).value } } });
      await refused;
      stream.cancel();
      expect(counted).toEqual([4, 3, 2, 1]);
      let evaluated = await looked(sidecar);
      expect(evaluated).toBe(4);

      // Nor is a crash.
      const third = await openTransfer(client, again);
      await sidecar.stop('SIGKILL');
      sidecar = await Sidecar.start({ dataDir, ports });
      const after = sidecar.client();
      const last = await answer(after, third, again.token, totp(wrongCode(person, 5)));
      expect(last.end).toBe('locked');
      for (let guess = 6; guess < 20; guess += 1) {
        const told = await answer(after, third, again.token, totp(wrongCode(person, guess)));
        expect(told.end === 'approved').toBe(false);
      }
      evaluated += await looked(sidecar);
      expect(evaluated).toBe(5);

      // The right code does not help any more either, and a new challenge is not opened.
      expect((await answer(after, third, again.token, totp(person.nextCode()))).end).toBe('failed');
      const opened = await after
        .unary(ChallengeService.method.openChallenge, {
          sessionToken: again.token,
          action: { resource: 'r', action: 'a' },
          sensitivity: 4,
        })
        .catch(errorInfo);
      expect(opened).toMatchObject({ code: EXHAUSTED, reason: 'SUBJECT_LOCKED' });
      expect(await trailOf(sidecar, { subject: 'victim', types: ['subject.locked'] })).toHaveLength(1);
      expect(await trailOf(sidecar, { subject: 'victim', types: ['challenge.approved'] })).toHaveLength(0);
      // Five refusals over two processes: four before the crash, and the one that locked.
      const refusals = await eventually(sidecar, { subject: 'victim', types: ['challenge.refused'] }, undefined, 2);
      expect(refusals.some((event) => event.reason === 'PROOF_WRONG')).toBe(true);
    } finally {
      await sidecar.stop();
    }
  });
});

describe('what counts as a guess', () => {
  let sidecar: Sidecar;
  let client: GrpcClient;
  beforeAll(async () => {
    sidecar = await Sidecar.start({ env: { SALLYPORT_BUDGET_SHORT_ATTEMPTS: '10' } });
    client = sidecar.client();
  });
  afterAll(async () => {
    await sidecar[Symbol.asyncDispose]();
  });

  it('counts every code that is not six ASCII digits, and takes none of them for the right one', async () => {
    const person = await enrolledPerson(client, 'typist');
    const challenge = await openTransfer(client, person);
    const right = person.nextCode();
    const spelled = (zero: number) => [...right].map((digit) => String.fromCodePoint(zero + Number(digit))).join('');
    const codes = [
      ` ${right}`,
      `${right}\n`,
      `${right.slice(0, 3)} ${right.slice(3)}`,
      `0${right}`,
      right.slice(1),
      '',
      spelled(0x0660),
      spelled(0xff10),
      'abcdef',
    ];
    const before = await looked(sidecar);
    for (const [index, code] of codes.entries()) {
      const told = await answer(client, challenge, person.token, totp(code));
      expect(told, JSON.stringify(code)).toMatchObject({
        end: 'refused',
        refusal: RefusalReason.PROOF_WRONG,
        attemptsLeft: 9 - index,
      });
    }
    expect((await looked(sidecar)) - before).toBe(codes.length);
    expect((await answer(client, challenge, person.token, totp(right))).end).toBe('approved');
  });

  it('refuses a code that was used, in its own step and in the next, on another challenge, and counts that', async () => {
    const person = await enrolledPerson(client, 'replayed');
    const code = person.nextCode();
    await approvedTransfer(client, person, code);
    const same = await answer(client, await openTransfer(client, person), person.token, totp(code));
    expect(same).toMatchObject({ end: 'refused', refusal: RefusalReason.PROOF_REPLAYED, attemptsLeft: 9 });
    // The window still admits it one step later.
    if (oathtoolCode(person.key) === code)
      await new Promise((resolve) => setTimeout(resolve, 30_000 - (Date.now() % 30_000) + 100));
    const next = await answer(client, await openTransfer(client, person), person.token, totp(code));
    expect(next).toMatchObject({ end: 'refused', refusal: RefusalReason.PROOF_REPLAYED, attemptsLeft: 8 });
    const events = await eventually(sidecar, { subject: 'replayed', types: ['challenge.refused'] }, undefined, 2);
    expect(events.map((event) => event.reason)).toEqual(['PROOF_REPLAYED', 'PROOF_REPLAYED']);
  });

  it('refuses the code of an earlier step than the last one that was used', async () => {
    const person = await enrolledPerson(client, 'backwards');
    const earlier = person.nextCode();
    await approvedTransfer(client, person, person.nextCode());
    const told = await answer(client, await openTransfer(client, person), person.token, totp(earlier));
    expect(told).toMatchObject({ end: 'refused', refusal: RefusalReason.PROOF_REPLAYED });
  });

  it("refuses somebody else's code, counts it to the one who was asked, and leaves it unused", async () => {
    const [ann, bob] = [await enrolledPerson(client, 'ann'), await enrolledPerson(client, 'bob')];
    const code = bob.nextCode();
    const told = await answer(client, await openTransfer(client, ann), ann.token, totp(code));
    expect(told).toMatchObject({ end: 'refused', refusal: RefusalReason.PROOF_WRONG, attemptsLeft: 9 });
    expect((await answer(client, await openTransfer(client, bob), bob.token, totp(code))).end).toBe('approved');
    const [event] = await eventually(sidecar, { subject: 'ann', types: ['challenge.refused'] });
    expect(factOf(event, 'attempts_left')).toBe('9');
    expect(await trailOf(sidecar, { subject: 'bob', types: ['challenge.refused'] })).toHaveLength(0);
  });

  it('counts answers of a method that is not offered, and does not look at them', async () => {
    const person = await enrolledPerson(client, 'mixed');
    const challenge = await openTransfer(client, person);
    const [spare = ''] = person.backupCodes;
    const told = await answer(client, challenge, person.token, backupCode(spare));
    expect(told).toMatchObject({ end: 'failed', reason: 'METHOD_NOT_OFFERED' });
    const wrong = await answer(client, challenge, person.token, totp(spare));
    expect(wrong).toMatchObject({ end: 'refused', refusal: RefusalReason.PROOF_WRONG, attemptsLeft: 8 });
    const status = await client.unary(FactorService.method.getMfaStatus, { subject: 'mixed' });
    expect(status.backupCodesLeft).toBe(10);
  });

  it('spends nothing on repeats of one request, and nothing for strangers', async () => {
    const person = await enrolledPerson(client, 'repeated');
    const challenge = await openTransfer(client, person);
    const requestId = '4d6f1f0e-8c3a-4b9d-8a55-0f2f6d1f7c01';
    const before = await looked(sidecar);
    for (let round = 0; round < 5; round += 1) {
      const told = await answer(client, challenge, person.token, totp('000000'), { requestId });
      expect(told).toMatchObject({ end: 'refused', attemptsLeft: 9 });
    }
    expect((await looked(sidecar)) - before).toBe(1);
    // Another code under the same id is a mistake, not another guess.
    const other = await answer(client, challenge, person.token, totp('000001'), { requestId });
    expect(other).toMatchObject({ end: 'failed', reason: 'REQUEST_ID_REUSED' });
    const stranger = await signIn(client, 'stranger');
    for (let round = 0; round < 30; round += 1) {
      const told = await answer(client, challenge, round % 2 === 0 ? stranger.token : '', totp('000000'));
      expect(told).toMatchObject({ end: 'failed', reason: 'CHALLENGE_NOT_FOUND' });
    }
    expect((await looked(sidecar)) - before).toBe(1);
    expect((await answer(client, challenge, person.token, totp(person.nextCode()))).end).toBe('approved');
  });

  it('takes two codes in a row as one attempt, and only in their order', async () => {
    const person = await enrolledPerson(client, 'drifted');
    const challenge = await openTransfer(client, person);
    const now = Date.now();
    const [first, second] = [oathtoolCode(person.key, 10, now), oathtoolCode(person.key, 11, now)];
    const backwards = await answer(client, challenge, person.token, totp(second, first));
    expect(backwards).toMatchObject({ end: 'refused', attemptsLeft: 9 });
    const apart = await answer(client, challenge, person.token, totp(first, oathtoolCode(person.key, 12, now)));
    expect(apart).toMatchObject({ end: 'refused', attemptsLeft: 8 });
    const far = [oathtoolCode(person.key, 60, now), oathtoolCode(person.key, 61, now)] as const;
    expect(await answer(client, challenge, person.token, totp(...far))).toMatchObject({
      end: 'refused',
      attemptsLeft: 7,
    });
    expect((await answer(client, challenge, person.token, totp(first, second))).end).toBe('approved');
  });
});

describe('one budget', () => {
  it('is shared by challenges and by confirming an enrolment', async () => {
    await using sidecar = await Sidecar.start();
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'both');
    const receipt = await changeReceipt(client, person, 'factor.enroll', 'factors/totp');
    const begun = await client.unary(FactorService.method.beginEnrollment, {
      subject: 'both',
      method: Method.TOTP,
      receipt,
      consent: CONSENT,
    });
    const factorId = begun.factor?.id ?? '';
    const confirm = (code: string) =>
      client
        .unary(FactorService.method.confirmEnrollment, {
          subject: 'both',
          factorId,
          proof: { case: 'code', value: code },
        })
        .catch(errorInfo);
    const before = await looked(sidecar);
    for (let guess = 0; guess < 3; guess += 1)
      expect(await confirm(`00000${guess}`)).toMatchObject({ code: 3, reason: 'PROOF_REFUSED' });
    const challenge = await openTransfer(client, person);
    expect(await answer(client, challenge, person.token, totp('000000'))).toMatchObject({ attemptsLeft: 1 });
    expect(await answer(client, challenge, person.token, totp('000000'))).toMatchObject({ end: 'locked' });
    expect(await confirm('000009')).toMatchObject({ code: EXHAUSTED, reason: 'SUBJECT_LOCKED' });
    if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
    expect(await confirm(oathtoolCode(begun.material.value.manualKey))).toMatchObject({ reason: 'SUBJECT_LOCKED' });
    expect((await looked(sidecar)) - before).toBe(5);
    const refused = await eventually(sidecar, { subject: 'both', types: ['factor.enrollment_refused'] });
    expect(refused.map((event) => event.reason)).toContain('PROOF_REFUSED');
  });

  it('stops for good at its limit, through short locks, and only an operator gives it back, on the record', async () => {
    await using sidecar = await Sidecar.start({
      env: {
        SALLYPORT_BUDGET_SHORT_ATTEMPTS: '3',
        SALLYPORT_BUDGET_SHORT_LOCK: '1s',
        SALLYPORT_BUDGET_HARD_ATTEMPTS: '7',
      },
    });
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'patient');
    const state = await watchHarm(sidecar);
    const unlocked = () => new Promise((resolve) => setTimeout(resolve, 1_100));
    for (let round = 0; round < 3; round += 1) {
      const challenge = await openTransfer(client, person);
      for (let guess = 0; guess < 6; guess += 1)
        await answer(client, challenge, person.token, totp(`0000${round}${guess}`));
      await unlocked();
    }
    // 3 + 3 + 1: the seventh is the last one ever.
    expect(await looked(sidecar)).toBe(7);
    const open = () =>
      client
        .unary(ChallengeService.method.openChallenge, {
          sessionToken: person.token,
          action: { resource: 'r', action: 'a' },
          sensitivity: 4,
        })
        .catch(errorInfo);
    expect(await open()).toMatchObject({ code: EXHAUSTED, reason: 'SUBJECT_LOCKED' });
    const status = await client.unary(FactorService.method.getMfaStatus, { subject: 'patient' });
    expect(status.hardLocked).toBe(true);
    const told = await trailOf(sidecar, { subject: 'patient', types: ['subject.locked', 'subject.hard_locked'] });
    expect(told.map((event) => event.type)).toEqual(['subject.hard_locked', 'subject.locked', 'subject.locked']);

    // Not even by the application itself.
    const unlock = { subject: 'patient', reason: 'called and identified' };
    const alone = await client.unary(AdminService.method.unlockSubject, unlock).catch(errorInfo);
    expect(alone).toMatchObject({ code: DENIED, reason: 'ROLE_MISSING' });
    expect(await open()).toMatchObject({ reason: 'SUBJECT_LOCKED' });

    expect(await sidecar.operator().unary(AdminService.method.unlockSubject, unlock)).toMatchObject({
      wasLocked: true,
    });
    const [event] = await trailOf(sidecar, { subject: 'patient', types: ['subject.unlocked'] });
    expect(event).toMatchObject({ caller: 'grpc/operator' });
    expect(factOf(event, 'note')).toBe('called and identified');
    expect((await answer(client, await openTransfer(client, person), person.token, totp(person.nextCode()))).end).toBe(
      'approved',
    );
    await state.unharmed();
  });

  it('is not moved by anybody who cannot name the session: no header, a wrong token, a handle', async () => {
    await using sidecar = await Sidecar.start();
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'target');
    const challenge = await openTransfer(client, person);
    const callers = [
      sidecar.client({}),
      sidecar.client({ 'x-sallyport-client': 'x', authorization: 'Bearer guessed' }),
    ];
    for (const caller of callers)
      for (let guess = 0; guess < 10; guess += 1)
        expect((await answer(caller, challenge, person.token, totp('000000'))).end).toBe('failed');
    for (let guess = 0; guess < 10; guess += 1) {
      expect(await answer(client, challenge, person.sessionId, totp('000000'))).toMatchObject({
        reason: 'CHALLENGE_NOT_FOUND',
      });
      expect(await answer(client, challenge, challenge, totp('000000'))).toMatchObject({
        reason: 'CHALLENGE_NOT_FOUND',
      });
    }
    expect(await looked(sidecar)).toBe(0);
    const { challenge: seen } = await client.unary(ChallengeService.method.getChallenge, {
      challengeId: challenge,
      sessionToken: person.token,
    });
    expect(seen?.state).toBe(ChallengeState.PENDING);
  });
});

describe('what a refusal tells', () => {
  it('is the same for tokens that are unknown, malformed, revoked or of another realm, in words and about in time', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_REALMS: '["one","two"]' } });
    const client = sidecar.client();
    const gone = await signIn(client, 'gone');
    await client.unary(SessionService.method.revokeSession, { session: { case: 'token', value: gone.token } });
    const live = await signIn(client, 'live');
    const classes: Readonly<Record<string, { readonly token: string; readonly realm: string }>> = {
      revoked: { token: gone.token, realm: '' },
      unknown: { token: `${live.token.slice(0, 20)}${live.token.slice(20).split('').reverse().join('')}`, realm: '' },
      malformed: { token: 'nonsense', realm: '' },
      foreign: { token: live.token, realm: 'two' },
    };
    const answers = new Map<string, string>();
    const times = new Map<string, number[]>(Object.keys(classes).map((name) => [name, []]));
    for (let round = 0; round < 200; round += 1) {
      for (const [name, request] of Object.entries(classes)) {
        const startedAt = performance.now();
        const error = await client
          .unary(SessionService.method.validateSession, request)
          .catch((thrown: unknown) => thrown);
        times.get(name)?.push(performance.now() - startedAt);
        const { code, details } = error as { readonly code: number; readonly details: string };
        answers.set(name, JSON.stringify([code, details, errorInfo(error)]));
      }
    }
    expect(new Set(answers.values()).size).toBe(1);
    expect(answers.get('revoked')).toContain('SESSION_INVALID');
    const medians = [...times.values()].map((list) => list.sort((a, b) => a - b)[list.length / 2] ?? 0);
    // Milliseconds over loopback; a look-up in the store is far below this.
    expect(Math.max(...medians) - Math.min(...medians)).toBeLessThan(2);
  });

  it('is the same for a challenge that is unknown, of somebody else, or of another caller', async () => {
    await using sidecar = await Sidecar.start();
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'owner');
    const thief = await signIn(client, 'thief');
    const bound = await openTransfer(client, person);
    const tell = async (challengeId: string, sessionToken: string) => {
      const error = await client
        .unary(ChallengeService.method.getChallenge, { challengeId, sessionToken })
        .catch((thrown: unknown) => thrown);
      const { code, details } = error as { readonly code: number; readonly details: string };
      return JSON.stringify([code, details, errorInfo(error)]);
    };
    const told = [
      await tell(`chl_${'0'.repeat(26)}`, thief.token),
      await tell(bound, thief.token),
      await tell(bound, ''),
      await tell(bound, 'sps_nonsense'),
    ];
    expect(new Set(told).size).toBe(1);
    expect(told[0]).toContain('CHALLENGE_NOT_FOUND');
  });
});
