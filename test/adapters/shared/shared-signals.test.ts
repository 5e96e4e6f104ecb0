import { describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import { settle } from '../../support/clock.ts';
import { type SharedSidecar, sharedWorld } from '../../support/shared-sidecars.ts';
import { challengeOf, eventOf, REALM } from '../../support/store-samples.ts';

async function world(options: Parameters<typeof sharedWorld>[0] = {}) {
  const made = sharedWorld(options);
  const [a, b] = [made.sidecar('a'), made.sidecar('b')];
  await Promise.all([a.start(), b.start()]);
  const open = async (fields: Partial<Challenge> = {}): Promise<Challenge> => {
    const challenge = challengeOf({ createdAt: made.clock.now(), expiresAt: made.clock.now() + 60_000, ...fields });
    await a.challenges.open({ challenge, maxOpen: 100, events: [] });
    return challenge;
  };
  /** As the services do it: durable, then told. */
  const deny = async (sidecar: SharedSidecar, challenge: Challenge): Promise<void> => {
    const command = { realm: REALM, challengeId: challenge.id, to: 'DENIED', now: made.clock.now() } as const;
    const settled = await sidecar.challenges.settle({ ...command, events: [eventOf('challenge.denied')] });
    if (settled.outcome === 'settled') sidecar.signals.challengeChanged(settled.challenge);
  };
  const follow = (sidecar: SharedSidecar, challenge: Challenge) => {
    const states: string[] = [];
    const stop = sidecar.signals.onChallenge(challenge.id, ({ state }) => states.push(state));
    return { states, stop };
  };
  return { ...made, a, b, open, deny, follow };
}

describe('a challenge that is followed', () => {
  it('is told at once where it is answered, and a moment later everywhere', async () => {
    const { a, b, open, deny, follow } = await world();
    const challenge = await open();
    const [here, there] = [follow(a, challenge), follow(b, challenge)];
    await settle();
    await deny(a, challenge);
    expect(here.states).toEqual(['DENIED']);
    await settle();
    expect(there.states).toEqual(['DENIED']);
  });

  it('is looked at once the subscription stands, so that what came before is not missed', async () => {
    const { a, b, open, deny, follow, clock } = await world();
    const challenge = await open();
    let stand = () => {};
    b.news.hold = new Promise<void>((resolve) => {
      stand = resolve;
    });
    const there = follow(b, challenge);
    await deny(a, challenge);
    await settle();
    expect(there.states).toEqual([]);
    stand();
    await clock.advanceSlowly(20, 5);
    expect(there.states).toEqual(['DENIED']);
  });

  it('is found in the database four times a second while news do not come, with one question for all', async () => {
    const { a, b, open, deny, follow, clock } = await world();
    const challenges = await Promise.all(Array.from({ length: 30 }, () => open()));
    b.loseRedis();
    const followed = challenges.map((challenge) => follow(b, challenge));
    await clock.advanceSlowly(1_000, 50);
    const before = b.gate.lookedForChallenges;
    for (const challenge of challenges) await deny(a, challenge);
    await clock.advanceSlowly(300, 50);
    expect(followed.every(({ states }) => states.includes('DENIED'))).toBe(true);
    await clock.advanceSlowly(700, 50);
    expect(b.gate.lookedForChallenges - before).toBeLessThanOrEqual(5);
  });

  it('is found although its news were lost while the connection stood, and costs little meanwhile', async () => {
    const { a, b, bus, open, deny, follow, clock } = await world();
    const challenge = await open();
    const there = follow(b, challenge);
    await clock.advanceSlowly(50, 5);
    bus.loses = () => true;
    await deny(a, challenge);
    await clock.advanceSlowly(1_000);
    expect(there.states).toEqual([]);
    await clock.advanceSlowly(1_200);
    expect(there.states).toContain('DENIED');
  });

  it('is looked at when news come back after a break', async () => {
    const { a, b, open, deny, follow, clock } = await world();
    const challenge = await open();
    const there = follow(b, challenge);
    await clock.advanceSlowly(50, 5);
    b.news.disconnect();
    await deny(a, challenge);
    b.news.reconnect();
    await clock.advanceSlowly(20, 5);
    expect(there.states).toEqual(['DENIED']);
  });

  it('is subscribed to later when that was not possible at first', async () => {
    const { a, b, open, deny, follow, clock } = await world();
    const challenge = await open();
    b.news.disconnect();
    const there = follow(b, challenge);
    expect(b.news.following).toBe(0);
    b.news.reconnect();
    await settle();
    expect(b.news.following).toBe(1);
    await clock.advanceSlowly(50, 5);
    await deny(a, challenge);
    await settle();
    expect(there.states).toEqual(['DENIED']);
  });

  it('is left when the last listener goes, also before the subscription stood', async () => {
    const { b, open, follow, clock } = await world();
    const challenge = await open();
    const [one, two] = [follow(b, challenge), follow(b, challenge)];
    await settle();
    one.stop();
    expect(b.news.following).toBe(1);
    two.stop();
    two.stop();
    expect(b.news.following).toBe(0);
    let stand = () => {};
    b.news.hold = new Promise<void>((resolve) => {
      stand = resolve;
    });
    follow(b, challenge).stop();
    stand();
    await settle();
    expect(b.news.following).toBe(0);
    const timers = clock.pending;
    await clock.advanceSlowly(10_000, 500);
    expect(clock.pending).toBeLessThanOrEqual(timers);
  });

  it('reaches the others when one listener fails', async () => {
    const { a, open, deny, follow } = await world();
    const challenge = await open();
    a.signals.onChallenge(challenge.id, () => {
      throw new Error('broken');
    });
    const other = follow(a, challenge);
    await deny(a, challenge);
    expect(other.states).toEqual(['DENIED']);
    expect(a.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
  });

  it('keeps being looked for while the database is away', async () => {
    const { a, b, open, deny, follow, clock } = await world();
    const challenge = await open();
    b.loseRedis();
    const there = follow(b, challenge);
    b.losePostgres();
    await deny(a, challenge);
    await clock.advanceSlowly(2_000);
    expect(there.states).toEqual([]);
    b.findPostgres();
    await clock.advanceSlowly(300, 50);
    expect(there.states).toContain('DENIED');
  });
});

describe('signals of sessions', () => {
  it('grow by one with each news, before it is told, and are live as long as the fence is fresh', async () => {
    const { a, b, clock } = await world();
    const session = await a.create();
    const seen: number[] = [];
    const before = b.signals.generation;
    b.signals.onSessionsEnded(() => seen.push(b.signals.generation - before));
    b.signals.onSessionsChanged(() => seen.push(b.signals.generation - before));
    await a.rotate(session, 'rotated');
    await settle();
    await a.end({ kind: 'ids', sessionIds: [session.id] });
    await clock.advanceSlowly(3_000);
    expect(seen).toEqual([1, 2]);
    expect(b.signals.generation - before).toBe(2);
    expect(b.signals.live).toBe(true);
    b.gate.away = true;
    await clock.advanceSlowly(2_100);
    expect(b.signals.live).toBe(false);
  });

  it('grow without being told when it is not known what was missed', async () => {
    const { b, clock, database } = await world();
    const session = await b.create();
    await settle();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    const before = b.signals.generation;
    b.gate.away = true;
    await database.end({
      realm: REALM,
      target: { kind: 'ids', sessionIds: [session.id] },
      reason: 'REVOKED',
      now: clock.now(),
      event: eventOf('session.ended'),
    });
    clock.advance(1);
    await database.purge(clock.now());
    b.gate.away = false;
    await clock.advanceSlowly(1_300);
    expect(b.told).toEqual([]);
    expect(b.signals.generation).toBe(before + 1);
    expect(await b.validate(session.tokenDigest)).toBe('no');
  });

  it('tell an end of this sidecar here, and not again when the log says it', async () => {
    const { a, clock } = await world();
    const session = await a.create();
    await a.end({ kind: 'ids', sessionIds: [session.id] });
    expect(a.told).toEqual([`ended ${session.id}`]);
    await clock.advanceSlowly(3_000);
    expect(a.told).toEqual([`ended ${session.id}`]);
  });
});
