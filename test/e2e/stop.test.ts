import { describe, expect, it } from 'vitest';
import { ChallengeService, type VerifyChallengeResponse } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from '../support/eventually.ts';
import { enrolledPerson, TRANSFER } from '../support/people.ts';
import { Sidecar } from '../support/sidecar.ts';

describe('graceful stop', () => {
  it('gives open streams a resumable end, finishes what is in flight, drains and exits 0; the challenge goes on after a restart', async () => {
    const first = await Sidecar.start();
    const { dataDir, ports } = first;
    const client = first.client();
    const person = await enrolledPerson(client, 'stopper');
    const stream = client.bidi(ChallengeService.method.verifyChallenge);
    const seen: VerifyChallengeResponse[] = [];
    const ended = new Promise<void>((resolve) => {
      stream.on('end', resolve);
      stream.on('error', () => resolve());
    });
    const opened = new Promise<void>((resolve) => {
      stream.on('data', (message: VerifyChallengeResponse) => {
        seen.push(message);
        resolve();
      });
    });
    stream.write({
      command: {
        case: 'start',
        value: { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL },
      },
    });
    await opened;
    // All are written to the connection at once; with the first reply, the server has the others too.
    const inFlight = Array.from({ length: 200 }, (_, index) =>
      client.unary(SessionService.method.createSession, { subject: `flight-${index}` }),
    );
    await Promise.race(inFlight);
    const stoppedAt = performance.now();
    first.child.kill('SIGTERM');
    const results = await Promise.allSettled(inFlight);
    await ended;
    const exit = await first.exited;
    expect(exit).toEqual({ code: 0, signal: null });
    expect(performance.now() - stoppedAt).toBeLessThan(10_000);
    expect(results.filter((result) => result.status === 'rejected').map(({ reason }) => String(reason))).toEqual([]);
    const last = seen.at(-1)?.event;
    expect(last?.case).toBe('interrupted');
    const challengeId = last?.case === 'interrupted' ? last.value.challengeId : '';

    const second = await Sidecar.start({ dataDir, ports });
    try {
      const answered = await second.client().unary(ChallengeService.method.answerChallenge, {
        challengeId,
        sessionToken: person.token,
        step: { case: 'proof', value: { kind: { case: 'totp', value: { code: person.nextCode() } } } },
      });
      expect(answered.result.case).toBe('finished');
    } finally {
      await second.stop();
      await first[Symbol.asyncDispose]();
    }
  });

  it('is faster on a second signal', async () => {
    const sidecar = await Sidecar.start({ env: { SALLYPORT_SHUTDOWN_DELAY: '20s', SALLYPORT_SHUTDOWN_GRACE: '25s' } });
    sidecar.child.kill('SIGTERM');
    // Two that come before the first was looked at are one.
    await eventually('the first signal was noticed', () => sidecar.stderr.includes('once more is faster'), 15_000);
    const at = performance.now();
    sidecar.child.kill('SIGTERM');
    await sidecar.exited;
    expect(performance.now() - at).toBeLessThan(10_000);
    await sidecar[Symbol.asyncDispose]();
  });

  it('refuses a second process on the same data directory and says who holds it', async () => {
    const first = await Sidecar.start();
    const second = await Sidecar.spawn({ dataDir: first.dataDir });
    const { code } = await second.exited;
    expect(code).not.toBe(0);
    expect(second.stderr).toContain(String(first.child.pid));
    await first[Symbol.asyncDispose]();
  });
});
