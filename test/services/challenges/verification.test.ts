import { describe, expect, it } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { SECOND } from '#src/domain/time.ts';
import type { Proof } from '#src/services/challenges/proof.ts';
import {
  APP,
  type ChallengeWorld,
  challengeWorld,
  factorOf,
  OTHER_APP,
  openCommand,
  PORTAL,
  refOf,
  totp,
} from '../../support/challenge-world.ts';
import { settle } from '../../support/clock.ts';

const open = async (world: ChallengeWorld, over = {}) =>
  (await world.challenges.open(APP, openCommand(over))).challenge;
const answer = (world: ChallengeWorld, challenge: Challenge, proof: Proof, requestId = '', caller: Caller = APP) =>
  world.verification.answer(caller, { ...refOf(challenge), proof, requestId });
const times = (count: number) => Array.from({ length: count }, (_, index) => index);

describe('a right proof', () => {
  it('approves with its event in the same step, restores the budget and tells the watchers', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    const told: string[] = [];
    world.signals.onChallenge(challenge.id, ({ state }) => told.push(state));
    await answer(world, challenge, totp('wrong'));
    const result = await answer(world, challenge, totp('right-1'));
    expect(result).toMatchObject({ outcome: 'finished', challenge: { state: 'APPROVED', provenMethod: 'totp' } });
    expect(told).toEqual(['APPROVED']);
    expect(world.budget()).toBeUndefined();
    const [event] = world.state.events.filter(({ type }) => type === 'challenge.approved');
    expect(event).toMatchObject({
      subject: 'ann',
      outcome: 'SUCCESS',
      reason: 'PROOF',
      method: 'totp',
      factorId: 'fac_totp',
      challengeId: challenge.id,
      actionDigest: challenge.actionDigest,
      caller: 'grpc',
      correlationId: 'corr-app',
    });
    expect(world.metrics.count('challengeEnded', 'totp', 'APPROVED', 'PROOF')).toBe(1);
  });

  it('records a resynchronised device and a used backup code as events of their own', async () => {
    const world = challengeWorld();
    await answer(world, await open(world), totp('right-1', 'right-2'));
    expect(world.eventsOf('factor.resynchronized')).toHaveLength(1);
    const login = await open(world, { purpose: 'login', sensitivity: 'sensitive' });
    await answer(world, login, { kind: 'backup_code', code: 'right-a' });
    expect(world.eventsOf('backup_code.used')).toHaveLength(1);
  });

  it('is refused on a second challenge in the same step', async () => {
    const world = challengeWorld();
    const [first, second] = [await open(world), await open(world)];
    await answer(world, first, totp('right-7'));
    expect(await answer(world, second, totp('right-7'))).toEqual({
      outcome: 'refused',
      attemptsLeft: 4,
      reason: 'PROOF_REPLAYED',
    });
    expect(world.eventsOf('challenge.refused')).toMatchObject([{ reason: 'PROOF_REPLAYED', challengeId: second.id }]);
  });

  it('wins exactly once out of 100 parallel submissions from two sidecars, and locks nobody out', async () => {
    const world = challengeWorld();
    const sidecars = [world, world.sidecar()];
    const challenge = await open(world);
    const outcomes = await Promise.all(
      times(100).map((index) =>
        (sidecars[index % 2] ?? world).verification
          .answer(APP, { ...refOf(challenge), proof: totp('right-3'), requestId: '' })
          .then(
            ({ outcome }) => outcome,
            (error: { reason: string }) => error.reason,
          ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'finished')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'CHALLENGE_ENDED')).toHaveLength(99);
    expect(world.state.ends.get(challenge.id)).toEqual(['APPROVED']);
    expect(world.budget()?.lockedUntil ?? 0).toBe(0);
  });

  it('is not looked at once the challenge is approved, under a request id or not', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await answer(world, challenge, totp('right-1'));
    const { evaluated } = world.checker;
    for (const requestId of ['', '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51']) {
      await expect(answer(world, challenge, totp('wrong'), requestId)).rejects.toMatchObject({
        reason: 'CHALLENGE_ENDED',
      });
    }
    expect(world.checker.evaluated).toBe(evaluated);
  });

  it('is refused when the deadline passes while it is being looked at, and has cost its attempt', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    world.clock.advance(59_900);
    world.checker.meanwhile = () => world.clock.advance(100);
    await expect(answer(world, challenge, totp('right-1'))).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'CHALLENGE_ENDED',
      details: { metadata: { state: 'EXPIRED' } },
    });
    expect(world.budget()).toMatchObject({ consecutive: 1 });
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    expect(world.eventTypes()).toContain('challenge.expired');
  });

  it('is good at 59.9 s and refused at 60 s', async () => {
    const world = challengeWorld();
    const [inTime, late] = [await open(world), await open(world)];
    world.clock.advance(59_999);
    expect(await answer(world, inTime, totp('right-1'))).toMatchObject({ outcome: 'finished' });
    world.clock.advance(1);
    await expect(answer(world, late, totp('right-2'))).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
    expect(world.checker.evaluated).toBe(1);
    expect(world.eventsOf('challenge.refused')).toMatchObject([{ reason: 'CHALLENGE_ENDED' }]);
  });
});

describe('a wrong proof', () => {
  it('spends an attempt before anything is looked at, malformed or not', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    let left = 5;
    for (const code of ['000000', '', ' 123456', '１２３４５６']) {
      left -= 1;
      expect(await answer(world, challenge, totp(code))).toEqual({
        outcome: 'refused',
        attemptsLeft: left,
        reason: 'PROOF_WRONG',
      });
    }
    expect(world.eventsOf('challenge.refused')).toHaveLength(4);
    expect(world.metrics.count('proof', 'totp', 'wrong')).toBe(4);
  });

  it('of a method that is not offered is counted, audited and said so to the application', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await expect(answer(world, challenge, { kind: 'sms', code: '123456' })).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'METHOD_NOT_OFFERED',
    });
    // Backup codes do not satisfy a critical action, so the policy did not offer them.
    await expect(answer(world, challenge, { kind: 'backup_code', code: 'right-a' })).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
    });
    expect(world.checker).toMatchObject({ evaluated: 0, imitated: 2 });
    expect(world.budget()).toMatchObject({ consecutive: 2 });
    expect(world.eventsOf('challenge.refused')).toMatchObject([
      { reason: 'METHOD_NOT_OFFERED', method: 'sms' },
      { reason: 'METHOD_NOT_OFFERED', method: 'backup_code' },
    ]);
  });

  it('of the fifth attempt ends the challenge LOCKED and locks the person, with both events in the same step', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    for (const _ of times(4)) await answer(world, challenge, totp('wrong'));
    expect(await answer(world, challenge, totp('wrong'))).toMatchObject({
      outcome: 'finished',
      challenge: { state: 'LOCKED' },
    });
    const recorded = world.state.events.map(({ type }) => type);
    expect(recorded.slice(-2)).toEqual(['subject.locked', 'challenge.locked']);
    await expect(answer(world, challenge, totp('right-1'))).rejects.toMatchObject({
      reason: 'CHALLENGE_ENDED',
      details: { metadata: { state: 'LOCKED' } },
    });
  });

  it('costs no more than 5 evaluations out of 200 parallel ones, over 8 challenges and 3 sidecars', async () => {
    const world = challengeWorld();
    const sidecars = [world, world.sidecar(), world.sidecar()];
    const challenges = await Promise.all(times(8).map(() => open(world)));
    await Promise.allSettled(
      times(200).map((index) => {
        const challenge = challenges[index % challenges.length];
        if (!challenge) throw new Error('no challenge');
        return (sidecars[index % 3] ?? world).verification.answer(APP, {
          ...refOf(challenge),
          proof: totp(String(index)),
          requestId: '',
        });
      }),
    );
    expect(world.checker.evaluated).toBe(5);
    expect(world.eventsOf('subject.locked')).toHaveLength(1);
    for (const { id } of challenges) expect(world.state.ends.get(id)).toEqual(['LOCKED']);
  });

  it('stops for good after 100 in a row, however slowly, and only an operator lifts it', async () => {
    const world = challengeWorld();
    let challenge = await open(world);
    let evaluated = 0;
    while (world.eventsOf('subject.hard_locked').length === 0) {
      await answer(world, challenge, totp('wrong')).catch(() => {});
      evaluated += 1;
      if (world.budget()?.lockedUntil && !world.budget()?.hardLocked) {
        world.clock.advance(16 * 60 * SECOND);
        challenge = await open(world);
      }
      if (evaluated > 150) break;
    }
    expect(world.checker.evaluated).toBe(100);
    world.clock.advance(365 * 24 * 3600 * SECOND);
    await expect(open(world)).rejects.toMatchObject({ kind: 'limited', reason: 'SUBJECT_LOCKED' });
  });

  it('is counted against the person whom the challenge asks, never against another', async () => {
    const world = challengeWorld();
    world.factors.push(factorOf('totp', { id: 'fac_bob', subject: 'bob' }));
    const bobs = await open(world, { subject: 'bob' });
    await answer(world, bobs, totp('wrong'));
    expect(world.budget('bob')).toMatchObject({ consecutive: 1 });
    expect(world.budget('ann')).toBeUndefined();
  });
});

describe('the budget', () => {
  it('lets only so many answers of one person wait, and says so, while others go through', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    world.factors.push(factorOf('totp', { id: 'fac_bobs', subject: 'bob' }));
    const bobs = await open(world, { subject: 'bob' });
    const outcomes = await Promise.allSettled([
      ...times(260).map(() => answer(world, challenge, totp('wrong'))),
      answer(world, bobs, totp('right-1')),
    ]);
    const reasons = outcomes.map((one) => (one.status === 'rejected' ? (one.reason as { reason: string }).reason : ''));
    expect(reasons.filter((reason) => reason === 'LIMIT_EXCEEDED')).toHaveLength(3);
    expect(outcomes.at(-1)).toMatchObject({ value: { outcome: 'finished' } });
    expect(world.eventsOf('limit.hit')).toHaveLength(3);
  });

  it('is not lowered by new challenges, method choices, cancellations, resends or another sidecar', async () => {
    const world = challengeWorld();
    const other = world.sidecar();
    const first = await open(world);
    await answer(world, first, totp('wrong'));
    await world.challenges.cancel(APP, refOf(first), 'again');
    const second = await open(world);
    await world.challenges.choose(APP, refOf(second), 'totp', '');
    await answer(world, second, totp('wrong'));
    await world.challenges.resend(APP, refOf(second)).catch(() => {});
    await other.verification.answer(APP, { ...refOf(second), proof: totp('wrong'), requestId: '' });
    world.clock.advance(60_000);
    const third = await open(world);
    await answer(world, third, totp('wrong'));
    expect(await answer(world, third, totp('wrong'))).toMatchObject({ challenge: { state: 'LOCKED' } });
    expect(world.checker.evaluated).toBe(5);
  });

  it('found empty ends another open challenge of the person without looking at the proof', async () => {
    const world = challengeWorld();
    const [one, other] = [await open(world), await open(world)];
    for (const _ of times(5)) await answer(world, one, totp('wrong'));
    expect(await answer(world, other, totp('right-1'))).toMatchObject({
      outcome: 'finished',
      challenge: { state: 'LOCKED' },
    });
    expect(world.checker.evaluated).toBe(5);
    expect(world.eventsOf('challenge.refused').at(-1)).toMatchObject({ reason: 'LOCKED', challengeId: other.id });
  });
});

describe('callers that may not know', () => {
  const shape = (result: unknown) => JSON.stringify(result);

  it('get one and the same refusal for wrong, replayed, malformed, not offered and locked', async () => {
    const world = challengeWorld();
    await answer(world, await open(world), totp('right-1'));
    const challenge = await open(world);
    const seen = [
      await answer(world, challenge, totp('wrong'), '', PORTAL),
      await answer(world, challenge, totp('right-1'), '', PORTAL),
      await answer(world, challenge, totp(' 12345'), '', PORTAL),
      // A signature is no guess: it spends none of the five attempts.
      await answer(world, challenge, { kind: 'webauthn', credentialJson: '{}' }, '', PORTAL),
      await answer(world, challenge, { kind: 'sms', code: '123456' }, '', PORTAL),
      await answer(world, challenge, totp('wrong'), '', PORTAL),
      await answer(world, challenge, totp('right-2'), '', PORTAL),
      await answer(world, await open(world).catch(() => challenge), totp('right-2'), '', PORTAL),
    ];
    expect(new Set(seen.map(shape))).toEqual(new Set([shape({ outcome: 'refused', attemptsLeft: 0 })]));
    expect(world.state.ends.get(challenge.id)).toEqual(['LOCKED']);
  });

  it('see a locked challenge as an open one until its time is up, and as expired then', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    for (const _ of times(5)) await answer(world, challenge, totp('wrong'), '', PORTAL);
    const read = async (caller: Caller) => (await world.challenges.read(caller, refOf(challenge))).challenge;
    expect(await read(APP)).toMatchObject({ state: 'LOCKED' });
    expect(await read(PORTAL)).toMatchObject({ state: 'PENDING' });
    expect(await read(PORTAL)).not.toHaveProperty('settledAt');
    expect(await world.challenges.choose(PORTAL, refOf(challenge), 'totp', '')).toMatchObject({ method: 'totp' });
    world.clock.advance(60_000);
    expect(await read(PORTAL)).toMatchObject({ state: 'EXPIRED', settledAt: challenge.expiresAt });
    await expect(answer(world, challenge, totp('right-1'), '', PORTAL)).rejects.toMatchObject({
      reason: 'CHALLENGE_ENDED',
      details: { metadata: { state: 'EXPIRED' } },
    });
  });

  it('cause the same work when the person is locked', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    for (const _ of times(7)) await answer(world, challenge, totp('wrong'), '', PORTAL);
    expect(world.checker).toMatchObject({ evaluated: 5, imitated: 2 });
  });
});

describe('a repeated request', () => {
  const ID = '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51';

  it('gets the first answer, also while that is being made, and spends nothing', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    const answers = await Promise.all(times(10).map(() => answer(world, challenge, totp('wrong'), ID)));
    await answer(world, challenge, totp('other'));
    answers.push(await answer(world, challenge, totp('wrong'), ID));
    for (const one of answers) expect(one).toEqual({ outcome: 'refused', attemptsLeft: 4, reason: 'PROOF_WRONG' });
    expect(world.checker.evaluated).toBe(2);
  });

  it('gets the approval again from another sidecar', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await answer(world, challenge, totp('right-1'), ID);
    const again = await world.sidecar().verification.answer(APP, {
      ...refOf(challenge),
      proof: totp('right-1'),
      requestId: ID,
    });
    expect(again).toMatchObject({ outcome: 'finished', challenge: { state: 'APPROVED' } });
    expect(world.checker.evaluated).toBe(1);
    expect(world.budget()).toBeUndefined();
  });

  it('is refused from another sidecar as it was refused at first', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await answer(world, challenge, totp('wrong'), ID);
    const again = await world.sidecar().verification.answer(APP, {
      ...refOf(challenge),
      proof: totp('wrong'),
      requestId: ID,
    });
    expect(again).toEqual({ outcome: 'refused', attemptsLeft: 4, reason: 'PROOF_WRONG' });
    expect(world.checker.evaluated).toBe(1);
  });

  it('with another proof is refused and audited, here and on another sidecar', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await answer(world, challenge, totp('wrong'), ID);
    for (const { verification } of [world, world.sidecar()]) {
      const reused = verification.answer(APP, { ...refOf(challenge), proof: totp('right-1'), requestId: ID });
      await expect(reused).rejects.toMatchObject({ kind: 'invalid', reason: 'REQUEST_ID_REUSED' });
    }
    expect(world.eventsOf('challenge.refused').filter(({ reason }) => reason === 'REQUEST_ID_REUSED')).toHaveLength(2);
    expect(world.checker.evaluated).toBe(1);
  });
});

describe('a store that fails', () => {
  it('approves nothing, and the same request may be tried again', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    world.state.failure = new Error('away');
    await expect(answer(world, challenge, totp('right-1'), 'a-request')).rejects.toThrow('away');
    world.state.failure = undefined;
    expect(world.eventsOf('challenge.approved')).toHaveLength(0);
    expect(await answer(world, challenge, totp('right-1'), 'a-request')).toMatchObject({ outcome: 'finished' });
  });
});

describe('somebody else', () => {
  it('cannot answer, and moves no counter', async () => {
    const world = challengeWorld();
    const challenge = await open(world);
    await expect(answer(world, challenge, totp('right-1'), '', OTHER_APP)).rejects.toMatchObject({
      kind: 'not-found',
      reason: 'CHALLENGE_NOT_FOUND',
    });
    await settle();
    expect(world.budget()).toBeUndefined();
    expect(world.eventsOf('request.refused')).toMatchObject([
      { reason: 'NOT_OWNER', caller: 'mtls/other', subject: 'ann' },
    ]);
  });
});
