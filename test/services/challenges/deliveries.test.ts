import { describe, expect, it } from 'vitest';
import type { Challenge, Delivery } from '#src/domain/challenge.ts';
import type { WatchNews } from '#src/services/challenges/challenge-watch.ts';
import {
  APP,
  type ChallengeWorld,
  challengeWorld,
  factorOf,
  openCommand,
  refOf,
} from '../../support/challenge-world.ts';

function worldWithSms() {
  const world = challengeWorld({ policy: { methods: ['totp', 'sms'] } });
  world.factors.push(factorOf('sms'));
  return world;
}

const open = async (world: ChallengeWorld) =>
  (await world.challenges.open(APP, openCommand({ sensitivity: 'sensitive', method: 'sms' }))).challenge;

function deliveryOf(world: ChallengeWorld, over: Partial<Delivery> = {}): Delivery {
  const at = world.clock.now();
  return {
    id: 'dlv_1',
    method: 'sms',
    factorId: 'fac_sms',
    status: 'QUEUED',
    reason: '',
    resendable: true,
    at,
    ...over,
  };
}

const note = (world: ChallengeWorld, challenge: Challenge, over: Partial<Delivery> = {}) =>
  world.deliveries.note(challenge, deliveryOf(world, over));

describe('word of a delivery', () => {
  it('moves the challenge to DELIVERED, is an event, and is counted', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    await note(world, challenge);
    expect(world.eventsOf('challenge.delivered')).toEqual([]);
    expect((await note(world, challenge, { status: 'SENT' }))?.state).toBe('DELIVERED');
    await note(world, challenge, { status: 'DELIVERED' });
    expect(world.eventsOf('challenge.delivered')).toMatchObject([
      { reason: 'SENT', outcome: 'INFO', method: 'sms', factorId: 'fac_sms', challengeId: challenge.id },
      { reason: 'DELIVERED' },
    ]);
    expect(world.metrics.count('delivery', 'sms', 'SENT', '')).toBe(1);
  });

  it('of a failure says why, and what nobody knows is one too', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    await note(world, challenge);
    await note(world, challenge, { status: 'UNKNOWN' });
    await note(world, challenge, { status: 'FAILED', reason: 'UNREACHABLE' });
    expect(world.eventsOf('challenge.delivery_failed')).toMatchObject([
      { reason: 'UNKNOWN', outcome: 'FAILED' },
      { reason: 'UNREACHABLE', facts: { status: 'FAILED' } },
    ]);
    expect(world.metrics.count('delivery', 'sms', 'FAILED', 'UNREACHABLE')).toBe(1);
  });

  it('that says nothing new changes nothing: no event, no news, no count', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    await note(world, challenge);
    await note(world, challenge, { status: 'SENT' });
    const told: Challenge[] = [];
    world.signals.onChallenge(challenge.id, (next) => told.push(next));
    await note(world, challenge, { status: 'SENT' });
    await note(world, challenge, { status: 'QUEUED' });
    await note(world, challenge, { id: 'dlv_0', status: 'FAILED', reason: 'UNREACHABLE' });
    expect(told).toEqual([]);
    expect(world.eventsOf('challenge.delivered')).toHaveLength(1);
    expect(world.eventsOf('challenge.delivery_failed')).toEqual([]);
    expect(world.metrics.count('delivery', 'sms', 'SENT', '')).toBe(1);
  });

  it('for a challenge that has ended, or is gone, changes nothing', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    await world.challenges.cancel(APP, refOf(challenge), '');
    expect(await note(world, challenge, { status: 'SENT' })).toMatchObject({ state: 'CANCELLED' });
    expect(await note(world, { ...challenge, id: 'chl_gone' }, { status: 'SENT' })).toBeUndefined();
    expect(world.eventsOf('challenge.delivered')).toEqual([]);
  });

  it('reaches whoever follows the challenge, each piece of it, although the state stays the same', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    let woken = 0;
    const watch = await world.watches.follow(APP, refOf(challenge), () => {
      woken += 1;
    });
    const take = async () => {
      const news: WatchNews | undefined = await watch.take();
      return news?.kind === 'challenge' ? [news.challenge.state, news.challenge.delivery?.status] : news?.kind;
    };
    expect(await take()).toEqual(['PENDING', undefined]);
    await note(world, challenge);
    expect(await take()).toEqual(['PENDING', 'QUEUED']);
    await note(world, challenge, { status: 'FAILED', reason: 'PROVIDER_DOWN' });
    expect(await take()).toEqual(['PENDING', 'FAILED']);
    // Word that arrives late from another sidecar takes nothing back.
    world.signals.challengeChanged({ ...challenge, delivery: deliveryOf(world) });
    expect(await take()).toBeUndefined();
    await note(world, challenge, { id: 'dlv_2' });
    await note(world, challenge, { id: 'dlv_2', status: 'SENT' });
    expect(await take()).toEqual(['DELIVERED', 'SENT']);
    expect(woken).toBe(4);
    world.signals.challengeChanged({ ...challenge, delivery: deliveryOf(world) });
    expect(await take()).toBeUndefined();
    watch.close();
  });
});

describe('a challenge that was opened on a device', () => {
  it('is SEEN from then on, with one event however often it is looked at', async () => {
    const world = worldWithSms();
    const challenge = await open(world);
    await note(world, challenge);
    const delivered = await note(world, challenge, { status: 'SENT' });
    if (!delivered) throw new Error('it is there');
    const states: string[] = [];
    world.signals.onChallenge(challenge.id, ({ state }) => states.push(state));
    await Promise.all([world.deliveries.seen(delivered), world.deliveries.seen(delivered)]);
    expect(states).toEqual(['SEEN']);
    expect(world.eventsOf('challenge.seen')).toMatchObject([{ challengeId: challenge.id, outcome: 'INFO' }]);
    await world.challenges.cancel(APP, refOf(challenge), '');
    await world.deliveries.seen(delivered);
    expect(world.eventsOf('challenge.seen')).toHaveLength(1);
  });
});
