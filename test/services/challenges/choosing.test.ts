import { describe, expect, it } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import { LivePush } from '#src/services/challenges/live-push.ts';
import {
  APP,
  type ChallengeWorld,
  challengeWorld,
  factorOf,
  OTHER_APP,
  openCommand,
  PORTAL,
  push,
  REALM,
  refOf,
  totp,
} from '../../support/challenge-world.ts';

const ALL: readonly Method[] = ['totp', 'sms', 'push', 'webauthn', 'backup_code'];
const REQUEST = '7f1b4d9e-0000-4000-8000-000000000001';

/** Somebody with every method, for an action that takes them all but backup codes. */
function worldOfAll(over: Parameters<typeof challengeWorld>[0] = {}) {
  const world = challengeWorld({ ...over, policy: { methods: ALL, ...over.policy } });
  world.factors.splice(0, world.factors.length, ...ALL.map((method) => factorOf(method)));
  return world;
}

const open = async (world: ChallengeWorld, over: Parameters<typeof openCommand>[0] = {}) =>
  (await world.challenges.open(APP, openCommand({ sensitivity: 'sensitive', ...over }))).challenge;

const choose = (world: ChallengeWorld, challenge: Challenge, method: Method, caller: Caller = APP, factorId = '') =>
  world.challenges.choose(caller, refOf(challenge), method, factorId);

const stored = (world: ChallengeWorld, { id }: Challenge) => world.state.get(REALM, id);

async function lock(world: ChallengeWorld): Promise<void> {
  const challenge = await open(world, { methods: ['totp'] });
  for (let i = 0; i < 5; i += 1) {
    await world.verification.answer(APP, { ...refOf(challenge), proof: totp('wrong'), requestId: '' });
  }
}

describe('choosing a method', () => {
  it('has it make or send what the person needs, for the factor as it is now, and shows that', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    expect(await choose(world, challenge, 'sms')).toEqual({
      method: 'sms',
      factorId: 'fac_sms',
      destination: '+1 *** ***-**42',
    });
    expect(await choose(world, challenge, 'push')).toMatchObject({ number: '42' });
    expect(await choose(world, challenge, 'webauthn')).toMatchObject({ webauthnOptionsJson: '{}' });
    expect(world.methods.sms.prompts).toEqual([
      { caller: 'grpc', challengeId: challenge.id, factorId: 'fac_sms', again: false },
    ]);
    expect(stored(world, challenge)?.chosenMethod).toBe('webauthn');
    expect(world.eventsOf('challenge.method_chosen').map(({ method, factorId }) => [method, factorId])).toEqual([
      ['sms', 'fac_sms'],
      ['push', 'fac_push'],
      ['webauthn', 'fac_webauthn'],
    ]);
  });

  it('takes the factor that is named, of several', async () => {
    const world = worldOfAll();
    world.factors.push(factorOf('push', { id: 'fac_tablet' }));
    const challenge = await open(world);
    expect(await choose(world, challenge, 'push', APP, 'fac_tablet')).toMatchObject({ factorId: 'fac_tablet' });
    await expect(choose(world, challenge, 'push', APP, 'fac_sms')).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
    });
  });

  it.each([
    ['frozen', { freezeReason: 'NOT_ME' }],
    ['not active any more', { state: 'PENDING' }],
    ['somebody else’s', { subject: 'eve' }],
  ] as const)(
    'is refused for a factor that is %s since the challenge was opened, and nothing is sent',
    async (_, over) => {
      const world = worldOfAll();
      const challenge = await open(world);
      const at = world.factors.findIndex(({ method }) => method === 'sms');
      world.factors[at] = factorOf('sms', over);
      await expect(choose(world, challenge, 'sms')).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
      expect(world.methods.sms.prompts).toEqual([]);
      expect(stored(world, challenge)?.chosenMethod).toBeUndefined();
      expect(world.eventsOf('request.refused').at(-1)).toMatchObject({ reason: 'METHOD_NOT_OFFERED', method: 'sms' });
    },
  );

  it('is refused for a factor that was removed since the challenge was opened', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    world.factors.splice(
      world.factors.findIndex(({ method }) => method === 'sms'),
      1,
    );
    await expect(choose(world, challenge, 'sms')).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
  });

  it('tells nothing to whom the challenge is not bound, and sends nothing for them', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    await expect(choose(world, challenge, 'push', OTHER_APP)).rejects.toMatchObject({ reason: 'CHALLENGE_NOT_FOUND' });
    expect(world.methods.push.prompts).toEqual([]);
  });

  it('sends nothing before the choice is in the trail', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    world.audit.failure = new Error('disk full');
    await expect(choose(world, challenge, 'sms')).rejects.toThrow('disk full');
    expect(world.methods.sms.prompts).toEqual([]);
  });

  it('reaches whoever follows the challenge', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    const seen: (Method | undefined)[] = [];
    world.signals.onChallenge(challenge.id, ({ chosenMethod }) => seen.push(chosenMethod));
    await choose(world, challenge, 'sms');
    expect(seen).toEqual(['sms']);
  });
});

describe('asking for it again', () => {
  it('goes to the factor that it went to last', async () => {
    const world = worldOfAll();
    world.factors.push(factorOf('push', { id: 'fac_tablet' }));
    const challenge = await open(world);
    await choose(world, challenge, 'push', APP, 'fac_tablet');
    const delivery = { id: 'dlv_1', method: 'push', factorId: 'fac_tablet', status: 'QUEUED', reason: '' } as const;
    await world.deliveries.note(challenge, { ...delivery, resendable: true, at: world.clock.now() });
    expect(await world.challenges.resend(APP, refOf(challenge))).toMatchObject({ factorId: 'fac_tablet' });
    expect(world.methods.push.prompts.at(-1)).toMatchObject({ factorId: 'fac_tablet', again: true });
  });

  it('is refused where nothing was chosen, and where nothing is sent', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    const resend = () => world.challenges.resend(APP, refOf(challenge));
    await expect(resend()).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
    await choose(world, challenge, 'totp');
    await expect(resend()).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
    expect(world.eventsOf('request.refused').map(({ method }) => method)).toEqual([undefined, 'totp']);
  });

  it('by the same request id sends once and shows the same, also at once; a request id is good for one challenge', async () => {
    const world = worldOfAll();
    const [challenge, other] = [await open(world), await open(world)];
    for (const one of [challenge, other]) await choose(world, one, 'sms');
    const before = world.methods.sms.prompts.length;
    const again = () => world.challenges.resend(APP, refOf(challenge), REQUEST);
    const [first, ...rest] = await Promise.all([again(), again(), again()]);
    expect([...rest, await again()]).toEqual([first, first, first]);
    expect(world.methods.sms.prompts).toHaveLength(before + 1);
    await expect(world.challenges.resend(APP, refOf(other), REQUEST)).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    await world.challenges.resend(APP, refOf(challenge), REQUEST.replace('1', '2'));
    expect(world.methods.sms.prompts).toHaveLength(before + 2);
    await world.challenges.cancel(APP, refOf(challenge), '');
    await expect(again()).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
  });

  it('lets the caps of the method through as they are', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    await choose(world, challenge, 'sms');
    world.methods.sms.failure = new Fault('limited', 'LIMIT_EXCEEDED', 'too many messages', { retryAfterMs: 9_000 });
    await expect(world.challenges.resend(APP, refOf(challenge))).rejects.toMatchObject({
      reason: 'LIMIT_EXCEEDED',
      details: { retryAfterMs: 9_000 },
    });
  });
});

describe('a method that is chosen with the opening', () => {
  it('is begun at once, and a repeat shows the same without sending more than the method would', async () => {
    const world = worldOfAll();
    const command = openCommand({ sensitivity: 'sensitive', method: 'sms', requestId: REQUEST });
    const first = await world.challenges.open(APP, command);
    expect(first.prompt).toMatchObject({ destination: '+1 *** ***-**42' });
    const second = await world.challenges.open(APP, command);
    expect(second.challenge.id).toBe(first.challenge.id);
    expect(world.methods.sms.prompts.map(({ again }) => again)).toEqual([false, false]);
  });

  it('shows what was chosen since, in the repeat', async () => {
    const world = worldOfAll();
    const command = openCommand({ sensitivity: 'sensitive', method: 'push', requestId: REQUEST });
    const { challenge } = await world.challenges.open(APP, command);
    await choose(world, challenge, 'totp');
    expect((await world.challenges.open(APP, command)).prompt).toEqual({ method: 'totp', factorId: 'fac_totp' });
  });

  it.each([
    ['LIMIT_EXCEEDED', 'limited'],
    ['DELIVERY_FAILED', 'unavailable'],
  ] as const)(
    'that cannot be sent (%s) leaves an open challenge, which says so and what else there is',
    async (reason, kind) => {
      const world = worldOfAll();
      world.methods.sms.failure = new Fault(kind, reason, 'not sent', { retryAfterMs: 5 * SECOND });
      const { challenge, prompt } = await world.challenges.open(
        APP,
        openCommand({ sensitivity: 'sensitive', method: 'sms' }),
      );
      expect(prompt).toBeUndefined();
      expect(challenge).toMatchObject({
        state: 'PENDING',
        delivery: { method: 'sms', factorId: 'fac_sms', status: 'FAILED', reason, resendable: true },
      });
      expect(world.eventsOf('challenge.delivery_failed')).toMatchObject([{ reason, outcome: 'FAILED', method: 'sms' }]);
      expect(await choose(world, challenge, 'totp')).toMatchObject({ method: 'totp' });
    },
  );

  it('that may be sent only after its end is not worth asking for again', async () => {
    const world = worldOfAll();
    world.methods.sms.failure = new Fault('limited', 'LIMIT_EXCEEDED', 'not sent', { retryAfterMs: 10 * MINUTE });
    const challenge = await open(world, { method: 'sms' });
    expect(challenge.delivery).toMatchObject({ status: 'FAILED', resendable: false });
  });

  it('carries the language of the person', async () => {
    const world = worldOfAll();
    expect((await open(world, { language: 'pt-BR' })).language).toBe('pt-BR');
    expect((await open(world)).language).toBeUndefined();
  });
});

describe('a lock', () => {
  it('keeps codes and notifications from being sent that nobody could use', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    await lock(world);
    for (const method of ['sms', 'push'] as const) {
      await expect(choose(world, challenge, method)).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
      expect(world.methods[method].prompts).toEqual([]);
    }
    expect(await choose(world, challenge, 'webauthn')).toMatchObject({ method: 'webauthn' });
    expect(stored(world, challenge)?.chosenMethod).toBe('webauthn');
  });

  it('is not shown to those who may not know: they see what they always see, and nothing is sent', async () => {
    const world = worldOfAll();
    const [before, after] = [await open(world), await open(world)];
    const honest = await choose(world, before, 'sms', PORTAL);
    await lock(world);
    expect(await choose(world, after, 'sms', PORTAL)).toEqual(honest);
    expect(world.methods.sms.prompts).toHaveLength(1);
    expect(world.methods.sms.pretended).toEqual([after.id]);
    expect(await world.challenges.open(APP, openCommand({ sensitivity: 'sensitive' }))).toMatchObject({
      challenge: { offers: [{ method: 'webauthn' }] },
    });
  });

  it('that ended the challenge itself looks the same to them, also when they ask again', async () => {
    const world = worldOfAll();
    const challenge = await open(world);
    for (let i = 0; i < 5; i += 1) {
      await world.verification.answer(PORTAL, { ...refOf(challenge), proof: totp('wrong'), requestId: '' });
    }
    expect(stored(world, challenge)?.state).toBe('LOCKED');
    expect(await choose(world, challenge, 'push', PORTAL)).toEqual({
      method: 'push',
      factorId: 'fac_push',
      number: '42',
    });
    expect(world.methods.push.prompts).toEqual([]);
    expect(await choose(world, challenge, 'totp', PORTAL)).toEqual({ method: 'totp', factorId: 'fac_totp' });
    await expect(choose(world, challenge, 'push')).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
  });
});

describe('one live push', () => {
  it('takes the place of the one before, which ends SUPERSEDED, and of that alone', async () => {
    const world = worldOfAll();
    const [one, two, other] = [await open(world), await open(world), await open(world)];
    await choose(world, one, 'push');
    await choose(world, other, 'sms');
    await choose(world, two, 'push');
    expect([one, two, other].map((each) => stored(world, each)?.state)).toEqual(['SUPERSEDED', 'PENDING', 'PENDING']);
    expect(world.eventsOf('challenge.superseded')).toMatchObject([
      { challengeId: one.id, outcome: 'INFO', reason: 'SUPERSEDED', facts: { superseded_by: two.id } },
    ]);
    const late = world.verification.answerAsDevice(PORTAL, {
      ...refOf(one),
      proof: push('42'),
      requestId: '',
    });
    await expect(late).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
  });

  it('takes the place of the one before also when it is chosen with the opening', async () => {
    const world = worldOfAll();
    const one = await open(world, { method: 'push' });
    const two = await open(world, { method: 'push' });
    expect([one, two].map((each) => stored(world, each)?.state)).toEqual(['SUPERSEDED', 'PENDING']);
    expect(two.chosenMethod).toBe('push');
  });

  it('is ended by nobody whose own has been ended meanwhile', async () => {
    const world = worldOfAll();
    const older = await open(world);
    world.clock.advance(SECOND);
    const own = await open(world);
    const ended: string[] = [];
    const livePush = new LivePush({
      // The older one was chosen after `own` and has ended it.
      challenges: { openOf: async () => [older], read: async () => ({ ...own, state: 'SUPERSEDED' }) },
      endings: { end: async ({ id }) => ({ ended: ended.push(id) > 0, challenge: own }) },
      clock: world.clock,
    });
    expect(await livePush.settle(APP, own)).toMatchObject({ id: own.id, state: 'SUPERSEDED' });
    expect(ended).toEqual([]);
  });

  it('may be an older challenge that chose push later', async () => {
    const world = worldOfAll();
    const older = await open(world);
    world.clock.advance(SECOND);
    const younger = await open(world, { method: 'push' });
    await choose(world, older, 'push');
    expect([older, younger].map((each) => stored(world, each)?.state)).toEqual(['PENDING', 'SUPERSEDED']);
  });

  it('of another person is none of it', async () => {
    const world = worldOfAll();
    world.factors.push(factorOf('push', { id: 'fac_eve', subject: 'eve' }));
    const anns = await open(world, { method: 'push' });
    await open(world, { method: 'push', subject: 'eve' });
    expect(stored(world, anns)?.state).toBe('PENDING');
  });

  it('is the only one that stays of many that are chosen at the same moment on two sidecars', async () => {
    for (let round = 0; round < 20; round += 1) {
      const world = worldOfAll({ seed: `round ${round}` });
      const sidecars = [world, world.sidecar()];
      const all = await Promise.all(Array.from({ length: 6 }, () => open(world)));
      const chosen = await Promise.allSettled(
        all.map((challenge, at) => sidecars[at % 2]?.challenges.choose(APP, refOf(challenge), 'push', '')),
      );
      const alive = all.filter((challenge) => stored(world, challenge)?.state === 'PENDING');
      expect(alive).toHaveLength(1);
      // Whoever was told to show a number has the live one; all others were told that theirs has ended.
      const shown = all.filter((_, at) => chosen[at]?.status === 'fulfilled');
      expect(shown).toContain(alive[0]);
      for (const result of chosen) {
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ reason: 'CHALLENGE_ENDED' });
      }
    }
  });

  it('cannot be approved any more once another method was chosen in its challenge; denied it can be', async () => {
    const world = worldOfAll();
    const challenge = await open(world, { method: 'push' });
    await choose(world, challenge, 'totp');
    const answer = (proof: ReturnType<typeof push>) =>
      world.verification.answerAsDevice(PORTAL, { ...refOf(challenge), proof, requestId: '' });
    expect(await answer(push('42'))).toEqual({ outcome: 'refused', attemptsLeft: 0 });
    expect(world.checker.evaluated).toBe(0);
    expect(await answer(push(''))).toMatchObject({ challenge: { state: 'DENIED' } });
  });
});
