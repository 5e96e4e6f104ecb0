import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { enrolledPerson, TRANSFER } from '../support/people.ts';
import { Sidecar } from '../support/sidecar.ts';
import { oathtoolCode } from '../support/totp-code.ts';
import { undisturbed } from '../support/undisturbed.ts';

let sidecar: Sidecar;
beforeAll(async () => {
  sidecar = await Sidecar.start();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
});

async function leftAlone(go: number): Promise<void> {
  const client = sidecar.client();
  const person = await enrolledPerson(client, `late-${go}`);
  const stream = client.bidi(ChallengeService.method.verifyChallenge);
  const startedAt = performance.now();
  const heartbeats: number[] = [];
  let challengeId = '';
  const finished = await new Promise<{ state: ChallengeState | undefined; after: number }>((resolve, reject) => {
    stream.on('data', (message) => {
      if (message.event.case === 'challenge') challengeId = message.event.value.id;
      if (message.event.case === 'heartbeat') heartbeats.push(performance.now() - startedAt);
      if (message.event.case === 'finished')
        resolve({ state: message.event.value.challenge?.state, after: performance.now() - startedAt });
    });
    stream.on('error', reject);
    stream.write({
      command: {
        case: 'start',
        value: { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL },
      },
    });
  });
  expect(finished.state).toBe(ChallengeState.EXPIRED);
  expect(finished.after).toBeGreaterThan(59_000);
  expect(finished.after).toBeLessThan(61_000);
  expect(heartbeats.length).toBeGreaterThan(2);

  // A minute later the codes of the enrolment are stale, so make fresh right ones.
  const late = await client
    .unary(ChallengeService.method.answerChallenge, {
      challengeId,
      sessionToken: person.token,
      step: { case: 'proof', value: { kind: { case: 'totp', value: { code: oathtoolCode(person.key) } } } },
    })
    .catch((error: unknown) => error);
  const after = await client.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: person.token });
  expect(after.challenge?.state).toBe(ChallengeState.EXPIRED);
  expect(after.receipt).toBeUndefined();
  expect(late).toBeDefined();
  const events = await sidecar
    .operator()
    .unary(AuditService.method.queryEvents, { filter: { challengeId, types: ['challenge.expired'] } });
  expect(events.events).toHaveLength(1);
}

describe('a challenge left alone', () => {
  it(
    'ends EXPIRED at 60 s ± 1 s, tells the stream, and refuses a late right code',
    {
      timeout: 300_000,
    },
    () => undisturbed(leftAlone),
  );
});
