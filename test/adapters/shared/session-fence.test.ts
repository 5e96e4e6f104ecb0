import { afterEach, describe, expect, it } from 'vitest';
import { SessionFence } from '#src/adapters/shared/session-fence.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Session } from '#src/domain/session.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { FakeDependencies } from '../../support/fake-dependencies.ts';
import { MemoryNewsBus } from '../../support/memory-news.ts';
import { MemorySessionStore } from '../../support/memory-session-store.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';
import { eventOf, REALM, sessionOf } from '../../support/store-samples.ts';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A fence over a database in memory. `others` is another sidecar's way to say things. */
function world(options: { readonly withNews?: boolean; readonly slots?: number } = {}) {
  const clock = new ManualClock();
  const store = new MemorySessionStore();
  const dependencies = new FakeDependencies(clock);
  const bus = new MemoryNewsBus();
  const news = bus.join();
  const others = bus.join();
  const log = new RecordingLog();
  let ask: SessionStore['changesAfter'] = (...query) => store.changesAfter(...query);
  const fence = new SessionFence({
    store: { changesAfter: (...query) => ask(...query) },
    realms: [REALM],
    news: options.withNews === false ? undefined : news,
    dependencies,
    longestOutageMs: 60_000,
    timeoutMs: 200,
    ...(options.slots === undefined ? {} : { slots: options.slots }),
    clock,
    random: new SeededRandom(),
    log,
  });
  stops.push(() => fence.stop());
  const told: string[] = [];
  fence.listen({
    ended: (ends) => told.push(...ends.map(({ sessionId }) => `ended ${sessionId}`)),
    changed: (ids) => told.push(...ids.map((id) => `changed ${id}`)),
    lost: () => told.push('lost'),
  });
  const create = (id: string): Session => {
    const session = sessionOf({ id, createdAt: clock.now(), lastUsedAt: clock.now() });
    store.sessions.set(id, session);
    return session;
  };
  const end = (...sessionIds: string[]) =>
    store.end({
      realm: REALM,
      target: { kind: 'ids', sessionIds },
      reason: 'REVOKED',
      now: clock.now(),
      event: eventOf('session.ended'),
    });
  const relabel = (sessionId: string) =>
    store.setLabels({ realm: REALM, sessionId, labels: {}, now: clock.now(), events: [] });
  /** A copy as somebody writes it who has read the session now. */
  const copyOf = (session: Session) => {
    const point = fence.position(REALM);
    if (!point) throw new Error('no position is known');
    return { session, ...point };
  };
  return {
    clock,
    store,
    dependencies,
    news,
    others,
    log,
    fence,
    told,
    create,
    end,
    relabel,
    copyOf,
    interceptLooks: (next: SessionStore['changesAfter'] | undefined) => {
      ask = next ?? ((...query) => store.changesAfter(...query));
    },
  };
}

const endNews = (sessionId: string, endedAt: number) =>
  [{ realm: REALM, sessionId, subject: 'ann', reason: 'REVOKED', endedAt }] as const;

describe('what the fence believes', () => {
  it('is nothing before it has seen the log', async () => {
    const { fence, create } = world();
    expect(fence.position(REALM)).toBeUndefined();
    expect(fence.fresh).toBe(false);
    await fence.start();
    expect(fence.fresh).toBe(true);
    expect(fence.believes({ session: create('a'), position: 0, mark: 0 })).toBe(true);
    // Nobody here knows that place in the log.
    expect(fence.believes({ session: create('a'), position: 5, mark: 0 })).toBe(false);
    expect(fence.isFresh('another realm')).toBe(false);
    expect(fence.believes({ session: { ...create('a'), realm: 'another realm' }, position: 0, mark: 0 })).toBe(false);
  });

  it('are copies that were read after the last change of their session, and no others', async () => {
    const { clock, fence, create, end, copyOf, relabel } = world();
    await fence.start();
    const [a, b] = [create('a'), create('b')];
    const [before, other] = [copyOf(a), copyOf(b)];
    await relabel('a');
    await clock.advanceSlowly(1_300);
    const after = copyOf(a);
    expect([before, other, after].map((copy) => fence.believes(copy))).toEqual([false, true, true]);
    await end('a', 'b');
    await clock.advanceSlowly(1_300);
    expect([before, other, after].map((copy) => fence.believes(copy))).toEqual([false, false, false]);
  });

  it('are copies from before it started too, as far as it has read back', async () => {
    const { clock, fence, create, relabel, copyOf, ...rest } = world();
    const [a, b] = [create('a'), create('b')];
    await fence.start();
    await relabel('a');
    await clock.advanceSlowly(1_300);
    const copies = [copyOf(a), copyOf(b)];
    await relabel('a');
    await relabel('b');
    const next = new SessionFence({
      store: rest.store,
      realms: [REALM],
      dependencies: rest.dependencies,
      longestOutageMs: 0,
      timeoutMs: 200,
      clock,
      random: new SeededRandom('next'),
      log: rest.log,
    });
    stops.push(() => next.stop());
    create('c');
    await next.start();
    expect(copies.map((copy) => next.believes(copy))).toEqual([false, false]);
    expect(
      next.believes({ session: create('c'), position: copies[0]?.position ?? -1, mark: copies[0]?.mark ?? -1 }),
    ).toBe(true);
  });

  it('excludes a session from the moment that news of it comes, until a later look has found the change', async () => {
    const { clock, fence, create, end, copyOf, others, relabel } = world();
    await fence.start();
    const [a, b] = [create('a'), create('b')];
    await relabel('b');
    const ends = await end('a');
    const copy = copyOf(a);
    await others.sessionsEnded(endNews('a', ends[0]?.endedAt ?? 0));
    await others.sessionsChanged(REALM, ['b'], clock.now());
    expect(fence.believes(copy)).toBe(false);
    expect(fence.believes(copyOf(b))).toBe(false);
    await clock.advanceSlowly(1_300);
    expect(fence.believes(copy)).toBe(false);
    expect(fence.believes(copyOf(b))).toBe(true);
  });

  it('does not take a look that was under way for a later one', async () => {
    const { clock, fence, store, create, copyOf, others, interceptLooks, relabel } = world();
    await fence.start();
    const a = create('a');
    let release = () => {};
    interceptLooks(async (...query) => {
      const page = await store.changesAfter(...query);
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return page;
    });
    const look = fence.catchUp(REALM);
    await settle();
    await relabel('a');
    await others.sessionsChanged(REALM, ['a'], clock.now());
    interceptLooks(undefined);
    release();
    expect(await look).toBe(true);
    expect(fence.believes(copyOf(a))).toBe(false);
    expect(await fence.catchUp(REALM)).toBe(true);
    expect(fence.believes(copyOf(a))).toBe(true);
  });

  it('keeps on not believing what it heard of when the look after it failed', async () => {
    const { clock, fence, create, copyOf, others, interceptLooks } = world();
    await fence.start();
    const copy = copyOf(create('a'));
    await others.sessionsChanged(REALM, ['a'], clock.now());
    interceptLooks(() => Promise.reject(new Fault('unavailable', 'STORE_UNAVAILABLE', 'away')));
    expect(await fence.catchUp(REALM)).toBe(false);
    expect(fence.believes(copy)).toBe(false);
  });

  it('keeps on not believing what it heard of when the look after it found an older change and then failed', async () => {
    const { clock, fence, store, create, copyOf, others, relabel, interceptLooks, ...rest } = world();
    await fence.start();
    const a = create('a');
    create('x');
    await relabel('a');
    const ahead = new SessionFence({
      store,
      realms: [REALM],
      dependencies: rest.dependencies,
      longestOutageMs: 0,
      timeoutMs: 200,
      clock,
      random: new SeededRandom('ahead'),
      log: rest.log,
    });
    stops.push(() => ahead.stop());
    await ahead.start();
    const copy = { ...copyOf(a), ...ahead.position(REALM) };
    for (let i = 0; i < 600; i++) await relabel('x');
    await relabel('a');
    await others.sessionsChanged(REALM, ['a'], clock.now());
    let pages = 0;
    interceptLooks((...query) => {
      pages += 1;
      if (pages > 1) expect(fence.believes(copy)).toBe(false);
      if (pages > 1) return Promise.reject(new Fault('unavailable', 'STORE_UNAVAILABLE', 'away'));
      return store.changesAfter(...query);
    });
    expect(await fence.catchUp(REALM)).toBe(false);
    expect([pages, copy.position]).toEqual([2, 1]);
    expect(fence.believes(copy)).toBe(false);
    interceptLooks(undefined);
    expect(await fence.catchUp(REALM)).toBe(true);
    expect(fence.believes(copy)).toBe(false);
    expect(fence.believes(copyOf(a))).toBe(true);
  });

  it('ends with the log that it knew: a trimmed one makes it begin anew', async () => {
    const { clock, fence, store, create, end, copyOf, relabel, told, interceptLooks } = world();
    await fence.start();
    const copy = copyOf(create('b'));
    for (const id of ['x', 'y', 'z']) create(id);
    interceptLooks(() => Promise.reject(new Fault('unavailable', 'STORE_UNAVAILABLE', 'away')));
    await end('x', 'y');
    clock.advance(1);
    await store.purge(clock.now());
    await end('z');
    interceptLooks(undefined);
    expect(fence.believes(copy)).toBe(true);
    await fence.catchUp(REALM);
    expect(told).toEqual(['lost']);
    expect(fence.believes(copy)).toBe(false);
    expect(fence.fresh).toBe(true);
    create('c');
    await relabel('c');
    await fence.catchUp(REALM);
    expect(fence.believes(copyOf(create('d')))).toBe(true);
    expect(told).toEqual(['lost', 'changed c']);
  });

  it('is nothing from before when the database was set back, even when its positions come again', async () => {
    const { clock, fence, store, create, copyOf, relabel, told, log, interceptLooks } = world();
    create('x');
    const a = create('a');
    await relabel('x');
    await fence.start();
    for (let i = 0; i < 3; i++) await relabel('x');
    await fence.catchUp(REALM);
    const copy = copyOf(a);
    expect(copy.position).toBe(4);
    // An earlier backup, which then goes another way.
    const earlier = new MemorySessionStore();
    earlier.sessions.set('x', create('x'));
    clock.advance(7);
    const go = (id: string) => {
      earlier.sessions.set(id, create(id));
      return earlier.setLabels({ realm: REALM, sessionId: id, labels: {}, now: clock.now(), events: [] });
    };
    await go('p');
    interceptLooks((...query) => earlier.changesAfter(...query));
    expect(fence.believes(copy)).toBe(true);
    await fence.catchUp(REALM);
    expect(told.at(-1)).toBe('lost');
    expect(log.lines.some((line) => line.startsWith('error') && line.includes('went back'))).toBe(true);
    expect(fence.believes(copy)).toBe(false);
    for (const id of ['q', 'r', 's', 't']) await go(id);
    await fence.catchUp(REALM);
    expect(fence.position(REALM)?.position).toBe(5);
    expect(fence.believes(copy)).toBe(false);
    expect(store.count('changesAfter')).toBeGreaterThan(0);
  });

  it('notices that it is another log also when that one is longer', async () => {
    const { clock, fence, create, relabel, told, interceptLooks } = world();
    create('x');
    await relabel('x');
    await relabel('x');
    await fence.start();
    const other = new MemorySessionStore();
    clock.advance(5);
    for (const id of ['p', 'q', 'r']) {
      other.sessions.set(id, create(id));
      await other.setLabels({ realm: REALM, sessionId: id, labels: {}, now: clock.now(), events: [] });
    }
    interceptLooks((...query) => other.changesAfter(...query));
    await fence.catchUp(REALM);
    expect(told).toEqual(['lost']);
    expect(fence.position(REALM)?.position).toBe(3);
  });

  it('stays in its memory: copies older than so many changes are not believed, and newer ones are', async () => {
    const { fence, create, copyOf, relabel } = world({ slots: 8 });
    await fence.start();
    const copy = copyOf(create('quiet one'));
    create('busy');
    for (let i = 0; i < 7; i++) await relabel('busy');
    await fence.catchUp(REALM);
    expect(fence.believes(copy)).toBe(true);
    await relabel('busy');
    await fence.catchUp(REALM);
    expect(fence.believes(copy)).toBe(false);
    expect(fence.believes(copyOf(create('quiet one')))).toBe(true);
  });

  it('catches up over many pages, and begins anew when it is too far behind', async () => {
    const { clock, fence, create, relabel, told } = world();
    await fence.start();
    create('x');
    for (let i = 0; i < 1_200; i++) await relabel('x');
    expect(await fence.catchUp(REALM)).toBe(true);
    expect(fence.position(REALM)?.position).toBe(1_200);
    expect(told).toHaveLength(1_200);
    for (let i = 0; i < 12_000; i++) await relabel('x');
    clock.advance(1);
    expect(await fence.catchUp(REALM)).toBe(true);
    expect(fence.position(REALM)?.position).toBe(13_200);
    expect(told.at(-1)).toBe('lost');
  });
});

describe('how long the fence is fresh', () => {
  const frozen: SessionStore['changesAfter'] = () => new Promise(() => {});
  const gone: SessionStore['changesAfter'] = () =>
    Promise.reject(new Fault('unavailable', 'STORE_UNAVAILABLE', 'away'));

  /** For how long after the last good look it stays fresh, in steps of 50 ms. */
  async function freshFor(clock: ManualClock, fence: SessionFence, most = 5_000): Promise<number> {
    const from = clock.monotonic();
    while (fence.fresh && clock.monotonic() - from < most) await clock.advanceSlowly(50, 50);
    return clock.monotonic() - from;
  }

  it('is two seconds while news come and one while none do', async () => {
    for (const [withNews, least, most] of [
      [true, 1_900, 2_050],
      [false, 900, 1_050],
    ] as const) {
      const { clock, fence, interceptLooks } = world({ withNews });
      await fence.start();
      interceptLooks(gone);
      const lasted = await freshFor(clock, fence);
      expect(lasted).toBeGreaterThanOrEqual(least);
      expect(lasted).toBeLessThanOrEqual(most);
    }
  });

  it('is one second from the moment that news stop', async () => {
    const { clock, fence, news, interceptLooks } = world();
    await fence.start();
    interceptLooks(gone);
    await clock.advanceSlowly(1_500, 50);
    expect(fence.fresh).toBe(true);
    news.disconnect();
    expect(fence.fresh).toBe(false);
  });

  it('goes on without PostgreSQL for the stated time, while news come without a break', async () => {
    const { clock, fence, dependencies, interceptLooks } = world();
    await fence.start();
    interceptLooks(gone);
    // It is noticed some time after the last look that succeeded.
    clock.advance(1_900);
    dependencies.leave('postgres');
    const lasted = await freshFor(clock, fence, 100_000);
    expect(lasted).toBeGreaterThanOrEqual(59_950);
    expect(lasted).toBeLessThanOrEqual(60_050);
  });

  it('does not go on without PostgreSQL once news had a break, however short', async () => {
    const { clock, fence, dependencies, news, interceptLooks } = world();
    await fence.start();
    await clock.advanceSlowly(1_000, 50);
    interceptLooks(gone);
    dependencies.leave('postgres');
    expect(fence.fresh).toBe(true);
    clock.advance(1);
    news.disconnect();
    expect(fence.fresh).toBe(false);
    news.reconnect();
    expect(fence.fresh).toBe(false);
    interceptLooks(undefined);
    dependencies.comeBack('postgres');
    await settle();
    expect(fence.fresh).toBe(true);
  });

  it('does not go on without PostgreSQL while news are in doubt, though their connection still stands', async () => {
    const { clock, dependencies, fence, news } = world();
    await fence.start();
    dependencies.leave('postgres');
    await clock.advanceSlowly(20_000);
    expect(fence.fresh).toBe(true);
    news.connected = false;
    expect(fence.fresh).toBe(false);
    news.connected = true;
    expect(fence.fresh).toBe(true);
  });

  it('does not go on without PostgreSQL where there are no news', async () => {
    const { fence, dependencies } = world({ withNews: false });
    await fence.start();
    dependencies.leave('postgres');
    expect(fence.fresh).toBe(false);
  });

  it('ends when the machine slept, although the monotonic clock stood still', async () => {
    const { clock, fence } = world();
    await fence.start();
    clock.setWall(clock.now() + 3_600_000);
    expect(fence.fresh).toBe(false);
    await clock.advanceSlowly(1_300, 50);
    expect(fence.fresh).toBe(true);
    clock.setWall(clock.now() - 86_400_000);
    expect(fence.fresh).toBe(true);
  });

  it('is lost and found again with a database that freezes, with one question at a time', async () => {
    const { clock, fence, interceptLooks } = world();
    await fence.start();
    let open = 0;
    let most = 0;
    interceptLooks(() => {
      open += 1;
      most = Math.max(most, open);
      clock.schedule(200, () => {
        open -= 1;
      });
      return new Promise(() => {});
    });
    expect(await freshFor(clock, fence)).toBeLessThanOrEqual(2_050);
    await clock.advanceSlowly(5_000, 50);
    expect(most).toBeLessThanOrEqual(1);
    expect(fence.fresh).toBe(false);
    interceptLooks(undefined);
    await clock.advanceSlowly(1_000, 50);
    expect(fence.fresh).toBe(true);
    interceptLooks(frozen);
    expect(await freshFor(clock, fence)).toBeLessThanOrEqual(2_050);
    interceptLooks(undefined);
    await clock.advanceSlowly(300, 50);
  });

  it('costs one question a second with news, and four without', async () => {
    for (const [withNews, least, most] of [
      [true, 8, 14],
      [false, 30, 55],
    ] as const) {
      const { clock, fence, store } = world({ withNews });
      await fence.start();
      const before = store.count('changesAfter');
      await clock.advanceSlowly(10_000, 50);
      const asked = store.count('changesAfter') - before;
      expect(asked).toBeGreaterThanOrEqual(least);
      expect(asked).toBeLessThanOrEqual(most);
    }
  });
});

describe('what the fence tells', () => {
  it('is each end and each change of other sidecars once, whether news or the log comes first', async () => {
    const { clock, fence, create, end, relabel, others, told } = world();
    await fence.start();
    for (const id of ['a', 'b', 'c', 'd']) create(id);
    const at = clock.now();
    // News first.
    await end('a');
    await relabel('b');
    await others.sessionsEnded(endNews('a', at));
    await others.sessionsChanged(REALM, ['b'], at);
    expect(told).toEqual(['ended a', 'changed b']);
    await clock.advanceSlowly(3_000);
    expect(told).toEqual(['ended a', 'changed b']);
    // The log first.
    const later = clock.now();
    await end('c');
    await relabel('d');
    await fence.catchUp(REALM);
    await others.sessionsEnded(endNews('c', later));
    await others.sessionsChanged(REALM, ['d'], later);
    expect(told).toEqual(['ended a', 'changed b', 'ended c', 'changed d']);
  });

  it('is what only the log says: no news has to arrive', async () => {
    const { clock, fence, create, end, relabel, told } = world();
    await fence.start();
    create('a');
    create('b');
    await end('a');
    await relabel('b');
    expect(told).toEqual([]);
    await clock.advanceSlowly(1_300);
    expect(told).toEqual(['ended a', 'changed b']);
  });

  it('is each of two changes in one instant, though the news of one was lost', async () => {
    const { clock, fence, create, relabel, others, told } = world();
    await fence.start();
    create('a');
    const at = clock.now();
    await relabel('a');
    await relabel('a');
    await others.sessionsChanged(REALM, ['a'], at);
    await clock.advanceSlowly(1_300);
    expect(told).toEqual(['changed a', 'changed a']);
  });

  it('is nothing of what this sidecar did itself', async () => {
    const { clock, fence, create, copyOf, end, relabel, told } = world();
    await fence.start();
    const copy = copyOf(create('a'));
    const at = clock.now();
    await relabel('a');
    fence.did(REALM, ['a'], at);
    expect(fence.believes(copy)).toBe(false);
    clock.advance(1);
    await end('a');
    fence.did(REALM, ['a'], clock.now());
    await clock.advanceSlowly(2_000);
    expect(told).toEqual([]);
  });

  it('is a pending end at once, and the end again when it is durable', async () => {
    const { clock, fence, create, end, others, told } = world();
    await fence.start();
    create('a');
    const [pending] = endNews('a', clock.now());
    await others.sessionsEnded([{ ...pending, pending: true }]);
    fence.found([{ ...pending, pending: true }]);
    expect(told).toEqual(['ended a']);
    clock.advance(500);
    await end('a');
    await clock.advanceSlowly(1_300);
    expect(told).toEqual(['ended a', 'ended a']);
    // Of a person's sessions nobody can say which they are.
    await others.sessionsEnded([{ ...pending, sessionId: '', pending: true }]);
    expect(told.at(-1)).toBe('lost');
  });

  it('is told before it counts as known', async () => {
    const { clock, fence, create, end, interceptLooks, store } = world();
    await fence.start();
    create('a');
    interceptLooks(() => Promise.reject(new Error('away')));
    await clock.advanceSlowly(3_000);
    await end('a');
    const fresh: boolean[] = [];
    fence.listen({ ended: () => fresh.push(fence.fresh), changed: () => {}, lost: () => {} });
    interceptLooks((...query) => store.changesAfter(...query));
    await fence.catchUp(REALM);
    expect(fresh).toEqual([false]);
    expect(fence.fresh).toBe(true);
  });
});
