import { describe, expect, it } from 'vitest';
import { names, PendingEndsDrain } from '#src/adapters/shared/pending-ends-drain.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { FakeDependencies } from '../../support/fake-dependencies.ts';
import { MemoryRedis, MemoryRedisFront } from '../../support/memory-copies.ts';
import { MemoryNewsBus } from '../../support/memory-news.ts';
import { MemorySessionStore } from '../../support/memory-session-store.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';
import { sharedWorld } from '../../support/shared-sidecars.ts';
import { eventOf, REALM, sessionOf } from '../../support/store-samples.ts';

const ids = (...sessionIds: string[]) => ({ kind: 'ids', sessionIds }) as const;

/** Sidecars that have started and have lost PostgreSQL, all of them. */
async function outage(count = 3) {
  const made = sharedWorld();
  const sidecars = Array.from({ length: count }, (_, index) => made.sidecar(`s${index}`));
  await Promise.all(sidecars.map((sidecar) => sidecar.start()));
  const [a, b, c] = sidecars;
  if (!a || !b || !c) throw new Error('three sidecars at least');
  const [one, two] = [await a.create(), await a.create({ subject: 'bob' })];
  await settle();
  for (const sidecar of sidecars) sidecar.losePostgres();
  const endOf = (id: string) => made.database.sessions.get(id)?.endReason;
  return { ...made, sidecars, a, b, c, one, two, endOf };
}

describe('pending ends', () => {
  it('become durable once, with one event, although every sidecar is at it', async () => {
    const { sidecars, a, one, clock, database, endOf, redis } = await outage(5);
    expect(await a.end(ids(one.id))).toBe('in force');
    for (const sidecar of sidecars) sidecar.findPostgres();
    await clock.advanceSlowly(1_500, 50);
    expect(endOf(one.id)).toBe('REVOKED');
    expect(database.events).toHaveLength(1);
    expect(redis.pending.size).toBe(0);
    for (const { pending } of sidecars) expect(pending?.settled).toBe(true);
  });

  it('become durable through a sidecar that reaches PostgreSQL, whoever was asked', async () => {
    const { a, b, c, one, clock, endOf } = await outage();
    expect(await a.end(ids(one.id))).toBe('in force');
    b.findPostgres();
    await clock.advanceSlowly(500, 50);
    expect(endOf(one.id)).toBe('REVOKED');
    for (const sidecar of [a, b, c]) expect(['no', 'unavailable']).toContain(await sidecar.validate(one.tokenDigest));
  });

  it('keep memory from answering after the outage until they are durable', async () => {
    const { b, c, redis, one, endOf } = await outage();
    // Nobody was told: the sidecar that was asked is gone.
    const end = {
      id: 'evt_1',
      realm: REALM,
      target: ids(one.id),
      reason: 'REVOKED',
      at: one.createdAt,
      event: eventOf('session.ended'),
    } as const;
    c.findPostgres();
    await settle();
    expect(await c.validate(one.tokenDigest)).toBe('store');
    expect(await c.validate(one.tokenDigest)).toBe('memory');
    c.losePostgres();
    redis.pending.set(end.id, end);
    expect(endOf(one.id)).toBeUndefined();
    c.findPostgres();
    expect(c.signals.live).toBe(false);
    const finds = c.front.calls.filter((call) => call === 'find').length;
    expect(await c.validate(one.tokenDigest)).toBe('no');
    // With the database there, nothing is answered by a copy either.
    expect(c.front.calls.filter((call) => call === 'find')).toHaveLength(finds);
    await settle();
    expect(endOf(one.id)).toBe('REVOKED');
    expect(c.signals.live).toBe(true);
    expect(await b.validate(one.tokenDigest)).not.toBe('memory');
  });

  it('are found by everybody within a second or so, although their news were lost', async () => {
    const { a, b, bus, one, clock } = await outage();
    b.findPostgres();
    await settle();
    await b.validate(one.tokenDigest);
    b.losePostgres();
    await clock.advanceSlowly(100);
    expect(await b.validate(one.tokenDigest)).toBe('memory');
    bus.loses = () => true;
    expect(await a.end(ids(one.id))).toBe('in force');
    await clock.advanceSlowly(1_300);
    expect(b.told).toEqual([`ended ${one.id}`]);
    expect(await b.validate(one.tokenDigest)).toBe('no');
  });

  it('are found where PostgreSQL never was away, too', async () => {
    const { a, b, bus, one, clock, endOf } = await outage();
    b.findPostgres();
    await clock.advanceSlowly(1_300);
    expect(b.pending?.settled).toBe(true);
    bus.loses = () => true;
    expect(await a.end(ids(one.id))).toBe('in force');
    await clock.advanceSlowly(6_500);
    expect(endOf(one.id)).toBe('REVOKED');
  });

  it('hold although Redis loses them, on every sidecar that has seen them', async () => {
    const { sidecars, a, b, c, bus, redis, one, clock, endOf } = await outage();
    bus.loses = () => true;
    const restore = redis.dump();
    expect(await a.end(ids(one.id))).toBe('in force');
    await clock.advanceSlowly(1_500);
    restore();
    for (const sidecar of sidecars) expect(await sidecar.validate(one.tokenDigest)).toBe('no');
    // Whoever has it makes it durable, without Redis as well.
    for (const sidecar of sidecars) sidecar.loseRedis();
    b.findPostgres();
    expect(await b.validate(one.tokenDigest)).toBe('no');
    await settle();
    expect(endOf(one.id)).toBe('REVOKED');
    c.findPostgres();
    expect(await c.validate(one.tokenDigest)).toBe('no');
  });

  it('hold for whoever was only told of them before Redis lost them', async () => {
    const { a, b, one, endOf, redis } = await outage();
    b.front.away = true;
    await a.end(ids(one.id));
    redis.flush();
    await settle();
    b.loseRedis();
    b.findPostgres();
    expect(await b.validate(one.tokenDigest)).toBe('no');
    expect(endOf(one.id)).toBeUndefined();
  });

  it('hold for whoever was only told that all sessions of a person end, but for the one that goes on', async () => {
    const { a, b, one, clock, redis } = await outage();
    for (const sidecar of [a, b]) sidecar.findPostgres();
    const staying = await a.create();
    await clock.advanceSlowly(1_300);
    expect(await b.validate(staying.tokenDigest)).not.toBe('no');
    for (const sidecar of [a, b]) sidecar.losePostgres();
    const restore = redis.dump();
    b.front.away = true;
    expect(await a.end({ kind: 'subject', subject: one.subject, exceptSessionId: staying.id })).toBe('in force');
    await settle();
    // A failover to a replica that has the copies, and not what was written last.
    restore();
    b.front.away = false;
    expect(await b.validate(one.tokenDigest)).toBe('no');
    expect(await b.validate(staying.tokenDigest)).toBe('store');
  });

  it('are not those of another person who has a session that an end names', async () => {
    const { a, b, one, two, clock } = await outage();
    b.findPostgres();
    await b.validate(two.tokenDigest);
    await clock.advanceSlowly(100);
    b.losePostgres();
    expect(await a.end({ kind: 'ids', sessionIds: [two.id], subject: one.subject })).toBe('in force');
    await settle();
    expect(await b.validate(two.tokenDigest)).toBe('store');
  });

  it('refuse rather than guess while neither PostgreSQL nor Redis can say', async () => {
    const { b, one } = await outage();
    b.front.away = true;
    expect(await b.validate(one.tokenDigest)).toBe('unavailable');
  });

  it('may be unknown to a sidecar that missed the news: it says nothing until others had the time to make them durable', async () => {
    const { a, b, c, one, two, clock, endOf } = await outage();
    b.loseRedis();
    expect(await a.end(ids(one.id))).toBe('in force');
    // Redis dies, and with it the only word of it.
    a.loseRedis();
    c.loseRedis();
    b.findPostgres();
    expect(b.signals.live).toBe(false);
    await clock.advanceSlowly(1_000, 50);
    expect(await b.validate(one.tokenDigest)).toBe('unavailable');
    for (const sidecar of [a, c]) sidecar.findPostgres();
    await clock.advanceSlowly(1_500, 50);
    expect(endOf(one.id)).toBe('REVOKED');
    await clock.advanceSlowly(1_500, 50);
    for (const sidecar of [a, b, c]) {
      expect(await sidecar.validate(one.tokenDigest)).toBe('no');
      expect(['store', 'memory']).toContain(await sidecar.validate(two.tokenDigest));
    }
  });

  it('hold nobody up after an outage of PostgreSQL in which Redis was there without a break', async () => {
    const { b, two } = await outage();
    b.findPostgres();
    await settle();
    expect(b.pending?.settled).toBe(true);
    expect(await b.validate(two.tokenDigest)).toBe('store');
  });

  it('do nothing the second time: Redis may come back with what was durable long ago', async () => {
    const { sidecars, a, one, two, redis, clock, database } = await outage();
    expect(await a.end({ kind: 'subject', subject: one.subject, exceptSessionId: '' })).toBe('in force');
    const restore = redis.dump();
    for (const sidecar of sidecars) sidecar.findPostgres();
    await clock.advanceSlowly(60_000, 500);
    const again = await a.create({ subject: one.subject });
    restore();
    for (const sidecar of sidecars) sidecar.loseRedis();
    clock.advance(1);
    for (const sidecar of sidecars) sidecar.findRedis();
    await clock.advanceSlowly(7_000, 500);
    expect(database.events).toHaveLength(1);
    expect(redis.pending.size).toBe(0);
    for (const session of [again, two]) expect(['store', 'memory']).toContain(await a.validate(session.tokenDigest));
  });

  it('end what there was when they were asked for, page by page, and nothing that began later', async () => {
    const { sidecars, a, clock, database, endOf } = await outage();
    a.findPostgres();
    const many = [];
    for (let i = 0; i < 99; i++) many.push(await a.create({ subject: 'many' }));
    for (let i = 0; i < 450; i++) {
      const old = sessionOf({ subject: 'many', createdAt: clock.now() + 1, endReason: 'LOGOUT', endedAt: 1 });
      database.sessions.set(old.id, old);
    }
    await settle();
    a.losePostgres();
    expect(await a.end({ kind: 'subject', subject: 'many', exceptSessionId: '' })).toBe('in force');
    const later = sessionOf({ subject: 'many', createdAt: clock.now() + 20_000, expiresAt: clock.now() + 90_000_000 });
    database.sessions.set(later.id, later);
    for (const sidecar of sidecars) sidecar.findPostgres();
    await clock.advanceSlowly(1_500);
    expect(many.map(({ id }) => endOf(id))).toEqual(many.map(() => 'REVOKED'));
    expect(endOf(later.id)).toBeUndefined();
  });

  it('wait for the next time when the database goes away in the middle', async () => {
    const { a, one, two, clock, database, endOf } = await outage();
    await a.end(ids(one.id));
    await a.end(ids(two.id));
    const failure = new Error('gone again');
    database.failure = failure;
    a.findPostgres();
    await clock.advanceSlowly(3_000);
    expect(a.pending?.settled).toBe(false);
    database.failure = undefined;
    await clock.advanceSlowly(1_500);
    expect([endOf(one.id), endOf(two.id)]).toEqual(['REVOKED', 'REVOKED']);
    expect(a.pending?.settled).toBe(true);
  });

  it('are tried with an event of its own each time: that of a try that was lost stays in the trail as uncertain', async () => {
    const clock = new ManualClock();
    const { pendingEnds } = new MemoryRedisFront(new MemoryRedis());
    const event = eventOf('session.ended');
    await pendingEnds.add({ id: event.id, realm: REALM, target: ids('ses_1'), reason: 'REVOKED', at: 1, event });
    const tried: string[] = [];
    const drain = new PendingEndsDrain({
      store: {
        end: async (command) => {
          tried.push(command.event.id);
          if (tried.length < 3) throw new Error('the reply to COMMIT was lost');
          return [];
        },
        list: async () => [],
      },
      pendingEnds,
      news: new MemoryNewsBus().join(),
      dependencies: new FakeDependencies(clock),
      announce: () => {},
      heard: () => {},
      caughtUp: async () => true,
      graceMs: 0,
      clock,
      random: new SeededRandom(),
      log: new RecordingLog(),
    });
    await drain.start();
    await clock.advanceSlowly(4_000);
    expect(drain.settled).toBe(true);
    expect(tried).toHaveLength(3);
    // The caller's own try, which came first, had its event too.
    expect(new Set([event.id, ...tried]).size).toBe(4);
    await drain.stop();
  });

  it('are asked for until all is known that became durable, whoever made it so', async () => {
    const clock = new ManualClock();
    let isKnown = false;
    const drain = new PendingEndsDrain({
      store: new MemorySessionStore(),
      pendingEnds: new MemoryRedisFront(new MemoryRedis()).pendingEnds,
      news: new MemoryNewsBus().join(),
      dependencies: new FakeDependencies(clock),
      announce: () => {},
      heard: () => {},
      caughtUp: async () => isKnown,
      graceMs: 0,
      clock,
      random: new SeededRandom(),
      log: new RecordingLog(),
    });
    await drain.start();
    expect([drain.settled, drain.allowsMemory]).toEqual([false, false]);
    isKnown = true;
    await clock.advanceSlowly(1_300);
    expect([drain.settled, drain.allowsMemory]).toEqual([true, true]);
    await drain.stop();
    expect(clock.pending).toBe(0);
  });

  it('name sessions by id and person, by person but one, and by the time of their beginning', () => {
    const session = sessionOf({ id: 'ses_1', subject: 'ann', createdAt: 1_000 });
    const base = { id: 'evt_1', realm: REALM, reason: 'REVOKED', at: 1_000, event: eventOf('session.ended') } as const;
    const isNamed = (target: Parameters<typeof names>[0]['target'], over = session) => names({ ...base, target }, over);
    expect(isNamed({ kind: 'ids', sessionIds: ['ses_0', 'ses_1'] })).toBe(true);
    expect(isNamed({ kind: 'ids', sessionIds: ['ses_1'], subject: 'ann' })).toBe(true);
    expect(isNamed({ kind: 'ids', sessionIds: ['ses_1'], subject: 'bob' })).toBe(false);
    expect(isNamed({ kind: 'ids', sessionIds: ['ses_2'] })).toBe(false);
    expect(isNamed({ kind: 'subject', subject: 'ann', exceptSessionId: '' })).toBe(true);
    expect(isNamed({ kind: 'subject', subject: 'ann', exceptSessionId: 'ses_1' })).toBe(false);
    expect(isNamed({ kind: 'subject', subject: 'bob', exceptSessionId: '' })).toBe(false);
    expect(isNamed({ kind: 'subject', subject: 'ann', exceptSessionId: '' }, { ...session, createdAt: 12_000 })).toBe(
      false,
    );
    expect(isNamed({ kind: 'ids', sessionIds: ['ses_1'] }, { ...session, realm: 'other' })).toBe(false);
  });
});
