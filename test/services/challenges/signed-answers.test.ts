import { describe, expect, it } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { Proof } from '#src/services/challenges/proof.ts';
import {
  APP,
  type ChallengeWorld,
  challengeWorld,
  factorOf,
  openCommand,
  PORTAL,
  push,
  REALM,
  refOf,
  totp,
} from '../../support/challenge-world.ts';

const ALL: readonly Method[] = ['totp', 'sms', 'push', 'webauthn'];

function worldOfAll() {
  const world = challengeWorld({ policy: { methods: ALL } });
  world.factors.splice(0, world.factors.length, ...ALL.map((method) => factorOf(method)));
  return world;
}

const open = async (world: ChallengeWorld, over: Parameters<typeof openCommand>[0] = {}) =>
  (await world.challenges.open(APP, openCommand({ sensitivity: 'sensitive', ...over }))).challenge;

const webauthn = (credentialJson: string): Proof => ({ kind: 'webauthn', credentialJson });

const answer = (world: ChallengeWorld, challenge: Challenge, proof: Proof, requestId = '', caller: Caller = APP) =>
  world.verification.answer(caller, { ...refOf(challenge), proof, requestId });

const asDevice = (world: ChallengeWorld, challenge: Challenge, proof: ReturnType<typeof push>, requestId = '') =>
  world.verification.answerAsDevice(PORTAL, { ...refOf(challenge), proof, requestId });

async function lock(world: ChallengeWorld): Promise<void> {
  const challenge = await open(world, { methods: ['totp'] });
  for (let i = 0; i < 5; i += 1) await answer(world, challenge, totp('wrong'));
}

describe('proofs that nobody can guess', () => {
  it('spend nothing, however many are wrong', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    for (let i = 0; i < 20; i += 1) {
      expect(await answer(world, challenge, webauthn('forged'))).toMatchObject({ outcome: 'refused', attemptsLeft: 5 });
    }
    expect(world.budget()).toBeUndefined();
    expect(world.eventsOf('challenge.refused')).toHaveLength(20);
  });

  it('pass a lock, on a challenge that was open before it, and leave it as it is', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    await lock(world);
    const before = world.budget();
    expect(await answer(world, challenge, webauthn('right-1'))).toMatchObject({
      outcome: 'finished',
      challenge: { state: 'APPROVED', provenMethod: 'webauthn' },
    });
    expect(world.budget()).toEqual(before);
    await expect(open(world, { methods: ['totp'] })).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
  });

  it('can be asked for by a challenge that a locked person opens, and nothing else can', async () => {
    const world = worldOfAll();
    await lock(world);
    const challenge = await open(world);
    expect(challenge.offers.map(({ method }) => method)).toEqual(['webauthn']);
    expect(await answer(world, challenge, totp('right-1'))).toMatchObject({ challenge: { state: 'LOCKED' } });
    expect(world.checker.evaluated).toBe(5);
    for (const over of [{ method: 'totp' }, { methods: ['totp', 'sms'] }] as const) {
      await expect(open(world, over)).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
    }
    await expect(open(world, { method: 'push' })).rejects.toMatchObject({
      details: { metadata: { methods: 'webauthn' }, retryAfterMs: expect.any(Number) },
    });
  });

  it('do not pass a stop by the person’s own word', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    const word = { receiptId: 'word', expiresAt: world.clock.now() + MINUTE };
    await world.attempts.lock({ realm: REALM, subject: 'ann', word, now: world.clock.now(), events: [] });
    expect(await answer(world, challenge, webauthn('right-1'))).toMatchObject({ challenge: { state: 'LOCKED' } });
    expect(world.checker.evaluated).toBe(0);
    await expect(open(world)).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
    world.devices.nextOf.set('ann token', '');
    const login = { purpose: 'login', trustedDeviceToken: 'token' } as const;
    await expect(open(world, login)).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
    expect(world.devices.asked).toEqual([]);
  });

  it('are not said to be missing where the person’s own word froze the only one', async () => {
    const world = worldOfAll();
    world.factors.splice(0, world.factors.length, { ...factorOf('push'), freezeReason: 'NOT_ME' });
    const word = { receiptId: 'word', expiresAt: world.clock.now() + MINUTE };
    await world.attempts.lock({ realm: REALM, subject: 'ann', word, now: world.clock.now(), events: [] });
    await expect(open(world, { purpose: 'login' })).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
  });

  it('are noted by their request id all the same', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    const id = '7f1b4d9e-0000-4000-8000-000000000002';
    await answer(world, challenge, webauthn('forged'), id);
    const other = world.sidecar();
    const repeated = other.verification.answer(APP, { ...refOf(challenge), proof: webauthn('forged'), requestId: id });
    expect(await repeated).toMatchObject({ outcome: 'refused' });
    expect(world.checker.evaluated).toBe(1);
    const reused = other.verification.answer(APP, { ...refOf(challenge), proof: webauthn('right-1'), requestId: id });
    await expect(reused).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });
});

describe('a push that is answered', () => {
  it('with the number that was shown approves, and spends an attempt before it is compared', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    world.checker.meanwhile = () => expect(world.budget()).toMatchObject({ recent: 1 });
    expect(await asDevice(world, challenge, push('42'))).toMatchObject({
      challenge: { state: 'APPROVED', provenMethod: 'push', provenFactorId: 'fac_push' },
    });
    expect.assertions(2);
  });

  it('with a wrong number ends the challenge DENIED, and costs an attempt', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    expect(await asDevice(world, challenge, push('41'))).toMatchObject({
      outcome: 'finished',
      challenge: { state: 'DENIED' },
    });
    await expect(asDevice(world, challenge, push('42'))).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
    expect(world.budget()).toMatchObject({ recent: 1 });
    expect(world.eventsOf('challenge.denied')).toMatchObject([
      { reason: 'NUMBER_WRONG', outcome: 'REFUSED', method: 'push', factorId: 'fac_push', challengeId: challenge.id },
    ]);
    expect(world.metrics.count('challengeEnded', 'push', 'DENIED', 'NUMBER_WRONG')).toBe(1);
    expect(world.metrics.count('proof', 'push', 'denied')).toBe(1);
  });

  it('with wrong numbers five times locks the person, as any other guess does', async () => {
    const world = worldOfAll();
    for (let i = 0; i < 5; i += 1) {
      await asDevice(world, await open(world, { method: 'push', methods: ['push'] }), push('00'));
    }
    expect(world.eventsOf('subject.locked')).toHaveLength(1);
    await expect(open(world, { methods: ['push', 'totp'] })).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
  });

  it('with a no ends the challenge for good, costs nothing, passes a lock and freezes nothing', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    await lock(world);
    const before = world.budget();
    expect(await asDevice(world, challenge, push(''))).toMatchObject({ challenge: { state: 'DENIED' } });
    expect(world.budget()).toEqual(before);
    expect(world.eventsOf('challenge.denied')).toMatchObject([{ reason: 'DENIED' }]);
    expect(world.eventsOf('factor.frozen')).toEqual([]);
  });

  it('with “this was not me” freezes every push factor of the person before it ends, and raises an alarm', async () => {
    const world = worldOfAll();
    world.factors.push(factorOf('push', { id: 'fac_tablet' }), factorOf('push', { id: 'fac_eve', subject: 'eve' }));
    const challenge = await open(world, { method: 'push' });
    const no = push('', { notMe: true });
    expect(await asDevice(world, challenge, no)).toMatchObject({ challenge: { state: 'DENIED' } });
    expect(world.factors.filter(({ freezeReason }) => freezeReason === 'NOT_ME').map(({ id }) => id)).toEqual([
      'fac_push',
      'fac_tablet',
    ]);
    expect(world.eventsOf('factor.frozen')).toMatchObject([{ reason: 'NOT_ME', subject: 'ann', outcome: 'SUCCESS' }]);
    expect(world.eventsOf('challenge.denied')).toMatchObject([{ reason: 'NOT_ME' }]);
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    expect((await open(world)).offers.map(({ method }) => method)).not.toContain('push');
  });

  it('with “this was not me” stays frozen when the end cannot be stored, and can be said again', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    const no = push('', { notMe: true });
    world.checker.meanwhile = () => {
      world.state.failure = new Error('the store is away');
    };
    await expect(asDevice(world, challenge, no)).rejects.toThrow('away');
    world.state.failure = undefined;
    world.checker.meanwhile = () => {};
    expect(world.factors.find(({ id }) => id === 'fac_push')?.freezeReason).toBe('NOT_ME');
    expect(await asDevice(world, challenge, no)).toMatchObject({ challenge: { state: 'DENIED' } });
    expect(world.eventsOf('factor.frozen')).toHaveLength(1);
  });

  it('with yes and no at the same instant on two sidecars has one outcome, in the store and in the trail', async () => {
    for (let round = 0; round < 20; round += 1) {
      const world = worldOfAll();
      const challenge = await open(world, { method: 'push' });
      const other = world.sidecar();
      const command = { ...refOf(challenge), requestId: '' };
      const answers = [
        world.verification.answerAsDevice(PORTAL, { ...command, proof: push('42') }),
        other.verification.answerAsDevice(PORTAL, { ...command, proof: push('') }),
      ];
      const results = await Promise.allSettled(round % 2 === 0 ? answers : answers.reverse());
      expect(world.state.ends.get(challenge.id)).toHaveLength(1);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const ends = world.state.events.filter(({ type }) => /^challenge\.(?:approved|denied)$/.test(type));
      expect(ends.map(({ type }) => type)).toEqual([
        `challenge.${world.state.ends.get(challenge.id)?.[0]?.toLowerCase()}`,
      ]);
    }
  });

  it('by its request id again gets the same answer, also from a sidecar that did not hear the first', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    const id = '7f1b4d9e-0000-4000-8000-000000000003';
    const first = await asDevice(world, challenge, push('41'), id);
    const command = { ...refOf(challenge), proof: push('41'), requestId: id };
    expect(await world.sidecar().verification.answerAsDevice(PORTAL, command)).toEqual(first);
    expect(world.budget()).toMatchObject({ recent: 1 });
  });
});

describe('a device that answers', () => {
  it('needs no session and no caller of the challenge, only to be offered by it', async () => {
    const world = worldOfAll();
    world.sessions.give('token');
    const bound = await open(world, { sessionToken: 'token', method: 'push' });
    await expect(answer(world, bound, push('42'), '', PORTAL)).rejects.toMatchObject({ reason: 'CHALLENGE_NOT_FOUND' });
    expect(await asDevice(world, bound, push('42'))).toMatchObject({ challenge: { state: 'APPROVED' } });
  });

  it('learns as much of somebody else’s challenge as of none: denied, without a word more, and nothing is spent', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    const faults = await Promise.all(
      [
        { ...refOf(challenge), proof: push('42', { factorId: 'fac_eve' }) },
        { ...refOf(challenge), proof: push('42', { factorId: 'fac_totp' }) },
        { ...refOf(challenge), challengeId: 'chl_00000000000000000000000000', proof: push('42') },
        { ...refOf(challenge), challengeId: 'x', proof: push('42') },
        { ...refOf(challenge), realm: 'bank', proof: push('42') },
      ].map((command) =>
        world.verification.answerAsDevice(PORTAL, { ...command, requestId: '' }).then(
          () => 'taken',
          ({ kind, reason, message, details }: Record<string, unknown>) =>
            JSON.stringify({ kind, reason, message, details }),
        ),
      ),
    );
    expect(new Set(faults).size).toBe(1);
    expect(faults[0]).toContain('NOT_OWNER');
    expect(world.checker.evaluated).toBe(0);
    expect(world.budget()).toBeUndefined();
    expect(world.eventsOf('request.refused')).toHaveLength(5);
  });
});
