import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { settle } from '../../support/clock.ts';
import { sharedWorld } from '../../support/shared-sidecars.ts';
import { eventOf, REALM } from '../../support/store-samples.ts';

/** Two sidecars that have started. */
async function world(options: Parameters<typeof sharedWorld>[0] = {}) {
  const made = sharedWorld(options);
  const [a, b] = [made.sidecar('a'), made.sidecar('b')];
  await Promise.all([a.start(), b.start()]);
  return { ...made, a, b };
}

const ids = (...sessionIds: string[]) => ({ kind: 'ids', sessionIds }) as const;

describe('a session that is looked up', () => {
  it('comes from the copy when there is one that is believed, and the database is not asked', async () => {
    const { a, b, database } = await world();
    const session = await a.create();
    await settle();
    const before = database.count('findByTokenDigest');
    expect(await b.sessions.findByTokenDigest(REALM, session.tokenDigest)).toEqual(session);
    expect(database.count('findByTokenDigest')).toBe(before);
  });

  it('comes from the database when there is no copy, and is copied for the others', async () => {
    const { a, b, database, redis } = await world();
    const session = await a.create();
    await settle();
    redis.flush();
    expect(await a.sessions.findByTokenDigest(REALM, session.tokenDigest)).toEqual(session);
    await settle();
    const before = database.count('findByTokenDigest');
    expect(await b.validate(session.tokenDigest)).toBe('store');
    expect(database.count('findByTokenDigest')).toBe(before);
  });

  it('comes from the database while Redis fails, and Redis is not even asked while it is known to be away', async () => {
    const { a, b, redis } = await world();
    const session = await a.create();
    await settle();
    b.front.away = true;
    expect(await b.validate(session.tokenDigest)).toBe('store');
    b.cache.clear();
    b.loseRedis();
    const finds = b.front.calls.filter((call) => call === 'find').length;
    expect(await b.validate(session.tokenDigest)).toBe('store');
    expect(b.front.calls.filter((call) => call === 'find')).toHaveLength(finds);
    expect(redis.sessions.size).toBe(1);
  });

  it('is read from the database once while Redis is away, since no end can be pending unknown to this sidecar', async () => {
    const { a, b, database } = await world();
    const session = await a.create();
    await settle();
    b.loseRedis();
    b.cache.clear();
    const before = database.count('findByTokenDigest');
    expect(await b.sessions.findByTokenDigest(REALM, session.tokenDigest)).toEqual(session);
    expect(database.count('findByTokenDigest')).toBe(before + 1);
  });

  it('is never taken from a copy of another token or another realm', async () => {
    const { a, b, redis } = await world();
    const [one, two] = [await a.create(), await a.create()];
    await settle();
    const copy = redis.sessions.get(`${REALM}\n${one.tokenDigest}`);
    if (!copy) throw new Error('there is no copy');
    redis.sessions.set(`${REALM}\n${two.tokenDigest}`, copy);
    redis.sessions.set(`${REALM}\nforeign`, { ...copy, session: { ...copy.session, realm: 'other' } });
    expect((await b.sessions.findByTokenDigest(REALM, two.tokenDigest))?.id).toBe(two.id);
    expect(await b.sessions.findByTokenDigest(REALM, 'foreign')).toBeUndefined();
  });

  it('comes from the database when its copy looks idle, since uses are told to the database alone', async () => {
    const { a, b, clock } = await world();
    const session = await a.create({ idleMs: 60_000 });
    await settle();
    await clock.advanceSlowly(59_000, 500);
    await a.sessions.touch([{ realm: REALM, sessionId: session.id, lastUsedAt: clock.now() - 30_000 }]);
    await settle();
    await clock.advanceSlowly(2_000, 500);
    expect((await b.sessions.findByTokenDigest(REALM, session.tokenDigest))?.lastUsedAt).toBe(clock.now() - 32_000);
  });

  it('has its copy made anew as it is used, so that it can be used without the database as well', async () => {
    const { a, b, clock } = await world();
    const session = await a.create({ idleMs: 60_000 });
    await settle();
    for (let i = 0; i < 6; i++) {
      await clock.advanceSlowly(20_000, 500);
      await a.sessions.touch([{ realm: REALM, sessionId: session.id, lastUsedAt: clock.now() }]);
      await settle();
    }
    b.losePostgres();
    expect(await b.validate(session.tokenDigest)).toBe('store');
  });

  it('that changed while it was read is not copied as it was', async () => {
    const { a, b, clock, database, redis } = await world();
    const session = await a.create();
    await settle();
    redis.flush();
    let release = () => {};
    database.hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    const reading = b.sessions.findByTokenDigest(REALM, session.tokenDigest);
    await settle();
    expect(await a.end(ids(session.id))).toBe('ended');
    database.hold = undefined;
    release();
    expect((await reading)?.endReason).toBeUndefined();
    await settle();
    await clock.advanceSlowly(3_000);
    expect(redis.sessions.size).toBe(0);
    expect([await a.validate(session.tokenDigest), await b.validate(session.tokenDigest)]).toEqual(['no', 'no']);
  });

  it('is answered by no copy of before its end, whether it was put late or came back from a dump', async () => {
    const { a, b, redis, clock } = await world();
    const session = await a.create();
    await settle();
    const restore = redis.dump();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    expect(await a.end(ids(session.id))).toBe('ended');
    expect(redis.sessions.size).toBe(0);
    for (const wait of [0, 500, 5_000, 600_000]) {
      await clock.advanceSlowly(wait, 500);
      restore();
      expect([await a.validate(session.tokenDigest), await b.validate(session.tokenDigest)]).toEqual(['no', 'no']);
    }
  });
});

describe('a change of a session', () => {
  it('is seen at once by the other sidecars: the old token is dead and the new one good', async () => {
    const { a, b, clock, redis } = await world();
    const session = await a.create();
    await settle();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    expect(await b.validate(session.tokenDigest)).toBe('memory');
    await a.rotate(session, 'rotated');
    await settle();
    expect(await b.validate(session.tokenDigest)).toBe('no');
    expect(await b.validate('rotated')).toBe('store');
    await clock.advanceSlowly(1_300);
    expect([...redis.sessions.keys()]).toEqual([`${REALM}\nrotated`]);
    b.cache.clear();
    b.losePostgres();
    expect(await b.validate('rotated')).toBe('store');
    expect(await b.validate(session.tokenDigest)).toBe('unavailable');
  });

  it('of labels or of risk replaces the copy', async () => {
    const { a, b, clock, database } = await world();
    const session = await a.create();
    await settle();
    await a.sessions.setLabels({
      realm: REALM,
      sessionId: session.id,
      labels: { a: '1' },
      now: clock.now(),
      events: [],
    });
    await a.sessions.noteRisk({
      realm: REALM,
      sessionId: session.id,
      changes: ['ADDRESS_CHANGED'],
      stepUpRequired: true,
      now: clock.now(),
      events: [],
    });
    const seen = await b.sessions.findByTokenDigest(REALM, session.tokenDigest);
    expect([seen?.labels, seen?.risk?.stepUpRequired]).toEqual([{ a: '1' }, true]);
    await clock.advanceSlowly(1_300);
    const before = database.count('findByTokenDigest');
    const again = await b.sessions.findByTokenDigest(REALM, session.tokenDigest);
    expect([again?.labels, again?.risk?.stepUpRequired]).toEqual([{ a: '1' }, true]);
    expect(database.count('findByTokenDigest')).toBe(before);
  });

  it('is told after it is durable, and not at all when it was refused', async () => {
    const { a, clock } = await world();
    const session = await a.create();
    a.gate.away = true;
    expect(await a.rotate(session, 'rotated')).toBeUndefined();
    const labels = { realm: REALM, sessionId: session.id, labels: {}, now: clock.now(), events: [] };
    await expect(a.sessions.setLabels(labels)).rejects.toThrow(Fault);
    await settle();
    expect(a.news.said).toEqual([]);
  });

  it('waits for a frozen Redis no longer than a moment', async () => {
    const { a, clock } = await world();
    const session = await a.create();
    await settle();
    a.front.frozen = true;
    a.news.frozen = true;
    let answered = false;
    const ending = a.end(ids(session.id)).then((outcome) => {
      answered = true;
      return outcome;
    });
    await settle();
    expect(answered).toBe(false);
    await clock.advanceSlowly(40, 10);
    expect(answered).toBe(true);
    expect(await ending).toBe('ended');
  });

  it('is durable and answered although nobody can be told, and found by the others all the same', async () => {
    const { a, b, clock } = await world();
    const session = await a.create();
    await settle();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    a.loseRedis();
    expect(await a.end(ids(session.id))).toBe('ended');
    await clock.advanceSlowly(2_000);
    expect(await b.validate(session.tokenDigest)).toBe('no');
    expect(b.told).toEqual([`ended ${session.id}`]);
  });

  it('is gone by at the sidecar that answers for it, when the one that made it durable did not live to tell anybody', async () => {
    const { a, b, clock, database } = await world();
    const [one, two] = [await a.create(), await a.create()];
    await settle();
    for (const { tokenDigest } of [one, two]) expect(await b.validate(tokenDigest)).toBe('store');
    const event = eventOf('session.ended');
    const command = { realm: REALM, reason: 'REVOKED', now: clock.now(), event } as const;
    await database.end({ ...command, target: ids(one.id) });
    expect(await b.validate(one.tokenDigest)).toBe('memory');
    expect(await b.end(ids(one.id))).toBe('ended');
    expect(await b.validate(one.tokenDigest)).toBe('no');
    const person = { kind: 'subject', subject: two.subject, exceptSessionId: '' } as const;
    await database.end({ ...command, target: person });
    expect(await b.end(person)).toBe('ended');
    expect(await b.validate(two.tokenDigest)).toBe('no');
  });

  it('is not said to be done by a sidecar that cannot go by it yet', async () => {
    const { a, b, clock, database } = await world();
    const session = await a.create();
    await settle();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    const event = eventOf('session.ended');
    await database.end({ realm: REALM, target: ids(session.id), reason: 'REVOKED', now: clock.now(), event });
    b.gate.logAway = true;
    expect(await b.end(ids(session.id))).toBe('refused');
  });

  it('tells the others of sessions that had to go for a new one', async () => {
    const { a, b, clock } = await world();
    const old = await a.create();
    await settle();
    await b.validate(old.tokenDigest);
    const session = { ...old, id: 'ses_new', tokenDigest: 'new', createdAt: clock.now() };
    await a.sessions.create({
      session,
      cap: 1,
      policy: 'evict_oldest',
      endSessionIds: [],
      now: clock.now(),
      events: [],
      evictionEvent: eventOf('session.ended'),
    });
    await settle();
    expect(b.told).toEqual([`ended ${old.id}`]);
    expect([await b.validate(old.tokenDigest), await b.validate('new')]).toEqual(['no', 'store']);
  });

  it('is refused at once without the database where it has to be written, whatever copies there are', async () => {
    const { a, clock } = await world();
    const session = await a.create();
    await settle();
    a.losePostgres();
    await expect(a.create()).rejects.toThrow(Fault);
    expect(await a.rotate(session, 'rotated')).toBeUndefined();
    await expect(
      a.sessions.touch([{ realm: REALM, sessionId: session.id, lastUsedAt: clock.now() }]),
    ).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(a.sessions.read(REALM, session.id)).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

describe('without PostgreSQL', () => {
  it('known sessions go on for the stated time, from memory and from copies, and then no longer', async () => {
    const { a, b, clock } = await world({ longestOutageMs: 60_000 });
    const [warm, cold] = [await a.create(), await a.create()];
    await settle();
    await b.validate(warm.tokenDigest);
    for (const each of [a, b]) each.losePostgres();
    await clock.advanceSlowly(50_000, 500);
    expect(await b.validate(warm.tokenDigest)).toBe('memory');
    expect(await b.validate(cold.tokenDigest)).toBe('store');
    await clock.advanceSlowly(10_000, 500);
    expect(await b.validate(warm.tokenDigest)).toBe('unavailable');
    expect(await b.validate(cold.tokenDigest)).toBe('unavailable');
    for (const each of [a, b]) each.findPostgres();
    await clock.advanceSlowly(500);
    expect(await b.validate(cold.tokenDigest)).toBe('memory');
  });

  it('nothing goes on when Redis is away too, and all recovers by itself', async () => {
    const { a, b, clock } = await world();
    const session = await a.create();
    await settle();
    await b.validate(session.tokenDigest);
    b.losePostgres();
    b.loseRedis();
    expect(await b.validate(session.tokenDigest)).toBe('unavailable');
    clock.advance(1);
    b.findRedis();
    expect(await b.validate(session.tokenDigest)).toBe('unavailable');
    b.findPostgres();
    // Others may have ended it meanwhile, and need a moment to say so.
    await clock.advanceSlowly(2_500);
    expect(await b.validate(session.tokenDigest)).toBe('unavailable');
    await clock.advanceSlowly(2_000);
    expect(await b.validate(session.tokenDigest)).toBe('memory');
  });

  it('an end is in force everywhere at once, is refused with the time to wait, and becomes durable', async () => {
    const { a, b, clock, database } = await world();
    const [one, two] = [await a.create(), await a.create({ subject: 'bob' })];
    await settle();
    await b.validate(one.tokenDigest);
    for (const each of [a, b]) each.losePostgres();
    const event = eventOf('session.ended', { caller: 'the one who asked' });
    const command = { realm: REALM, target: ids(one.id), reason: 'REVOKED', now: clock.now(), event } as const;
    await expect(a.sessions.end(command)).rejects.toMatchObject({
      kind: 'unavailable',
      reason: 'STORE_UNAVAILABLE',
      details: { retryAfterMs: 1_000, metadata: { inForce: 'true' } },
    });
    await settle();
    expect(await a.validate(one.tokenDigest)).toBe('no');
    expect(await b.validate(one.tokenDigest)).toBe('no');
    expect(await b.validate(two.tokenDigest)).toBe('store');
    expect(database.sessions.get(one.id)?.endReason).toBeUndefined();
    expect((await b.sessions.findByTokenDigest(REALM, one.tokenDigest))?.endedAt).toBeUndefined();
    for (const each of [a, b]) each.findPostgres();
    await clock.advanceSlowly(500);
    expect(database.sessions.get(one.id)?.endReason).toBe('REVOKED');
    expect(database.events.map(({ caller, sessionId }) => [caller, sessionId])).toEqual([
      ['the one who asked', one.id],
    ]);
    expect([await a.validate(one.tokenDigest), await b.validate(one.tokenDigest)]).toEqual(['no', 'no']);
    expect(a.told.filter((line) => line === `ended ${one.id}`)).toHaveLength(1);
  });

  it('an end of all of a person reaches copies and memory on every sidecar, and spares the session it excepts', async () => {
    const { a, b, clock, database } = await world();
    const made = await Promise.all([1, 2, 3].map(() => a.create({ subject: 'ann' })));
    const other = await a.create({ subject: 'bob' });
    await settle();
    for (const { tokenDigest } of [...made, other]) await b.validate(tokenDigest);
    for (const each of [a, b]) each.losePostgres();
    const [kept, ...rest] = made;
    expect(await a.end({ kind: 'subject', subject: 'ann', exceptSessionId: kept?.id ?? '' })).toBe('in force');
    await settle();
    for (const each of [a, b]) {
      for (const { tokenDigest } of rest) expect(await each.validate(tokenDigest)).toBe('no');
      expect(await each.validate(kept?.tokenDigest ?? '')).not.toBe('no');
      expect(await each.validate(other.tokenDigest)).not.toBe('no');
    }
    for (const each of [a, b]) each.findPostgres();
    await clock.advanceSlowly(1_000);
    const live = [...database.sessions.values()].filter(({ endReason }) => endReason === undefined);
    expect(new Set(live.map(({ id }) => id))).toEqual(new Set([kept?.id, other.id]));
  });

  it('nothing is put in force for what the clock decides, nor without Redis, nor when the trail is what is full', async () => {
    const { a, b, clock, database, redis } = await world();
    const session = await a.create();
    await settle();
    a.losePostgres();
    const event = eventOf('session.ended');
    const command = { realm: REALM, target: ids(session.id), now: clock.now(), event };
    await expect(a.sessions.end({ ...command, reason: 'IDLE' })).rejects.toMatchObject({ kind: 'unavailable' });
    a.loseRedis();
    expect(await a.end(ids(session.id))).toBe('refused');
    database.failure = new Fault('unavailable', 'AUDIT_UNAVAILABLE', 'the trail is full');
    await expect(b.sessions.end({ ...command, reason: 'REVOKED' })).rejects.toMatchObject({
      reason: 'AUDIT_UNAVAILABLE',
    });
    expect(redis.pending.size).toBe(0);
  });

  it('a session whose time is up is refused by its copy, and one that looks idle cannot be judged', async () => {
    const { a, b, clock } = await world({ longestOutageMs: 600_000 });
    const now = clock.now();
    const [expiring, idling] = [await a.create({ expiresAt: now + 10_000 }), await a.create({ idleMs: 10_000 })];
    await settle();
    b.losePostgres();
    await clock.advanceSlowly(11_000, 500);
    expect(await b.validate(expiring.tokenDigest)).toBe('no');
    expect(await b.validate(idling.tokenDigest)).toBe('unavailable');
  });
});

describe('without Redis in the settings', () => {
  it('all goes by the database, and ends elsewhere are known within the second', async () => {
    const { a, b, clock } = await world({ alone: true });
    const session = await a.create();
    expect(await b.validate(session.tokenDigest)).toBe('store');
    expect(await b.validate(session.tokenDigest)).toBe('memory');
    expect(await a.end(ids(session.id))).toBe('ended');
    await clock.advanceSlowly(400, 50);
    expect(b.told).toEqual([`ended ${session.id}`]);
    expect(await b.validate(session.tokenDigest)).toBe('no');
    b.losePostgres();
    expect(await b.validate(session.tokenDigest)).toBe('unavailable');
    expect(await b.end(ids(session.id))).toBe('refused');
  });
});
