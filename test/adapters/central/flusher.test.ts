import { describe, expect, it } from 'vitest';
import type { ChainHead } from '#src/adapters/audit/contract.ts';
import { type Clash, Flusher, type FlusherOptions } from '#src/adapters/central/flusher.ts';
import type { EventTally } from '#src/ports/audit.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { MemoryFlushSource, MemoryFlushTarget } from '../../support/memory-flush.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

function world(more: Partial<FlusherOptions> = {}) {
  const clock = new ManualClock();
  const source = new MemoryFlushSource();
  const target = new MemoryFlushTarget();
  const log = new RecordingLog();
  const listeners = new Set<(written: readonly EventTally[]) => void>();
  const clashes: Clash[] = [];
  const agreed: ChainHead[] = [];
  const flusher = new Flusher({
    source,
    target,
    audit: {
      onAppend: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    trail: {
      localHead: async () => ({ chainId: 'a', sequence: 0, hash: new Uint8Array() }),
      agree: async (head) => {
        agreed.push(head);
        return 'agrees';
      },
    },
    mode: 'buffered',
    intervalMs: 500,
    batchRows: 100,
    bounds: { bytes: 1_000_000_000, ageMs: 3_600_000 },
    isBusy: () => false,
    onClash: (clash) => clashes.push(clash),
    clock,
    random: new SeededRandom('flusher'),
    log,
    ...more,
  });
  /** Events have become durable on the local disk. */
  const append = (count: number, chainId = 'a', bytes = 100) => {
    source.add(chainId, count, bytes);
    for (const listener of listeners) listener([]);
  };
  return { clock, source, target, log, flusher, append, clashes, agreed, listeners };
}

/** Lets everything happen that needs no time to pass but turns of the event loop. */
async function turns(clock: ManualClock, count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) {
    clock.advance(0);
    await settle();
  }
}

describe('the flusher', () => {
  it('gathers events for the interval and brings them in one batch', async () => {
    const { clock, target, flusher, append } = world();
    flusher.start();
    await turns(clock);
    append(3);
    await clock.advanceSlowly(400);
    append(4);
    expect(target.batches).toEqual([]);
    await clock.advanceSlowly(100);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([7]);
    expect(flusher.status).toMatchObject({ stored: 7, failures: 0, lastGoodAt: clock.now() });
    await flusher.close();
  });

  it('brings strict events at once, and those of meanwhile right after', async () => {
    const { clock, target, flusher, append } = world({ mode: 'strict' });
    flusher.start();
    await turns(clock);
    let release = () => {};
    target.during = () => new Promise((resolve) => (release = resolve));
    append(1);
    await turns(clock);
    append(2);
    await turns(clock);
    expect(target.attempts).toBe(1);
    release();
    await turns(clock);
    release();
    await turns(clock);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([1, 2]);
    target.during = undefined;
    await flusher.close();
  });

  it('catches up batch after batch without waiting', async () => {
    const { clock, source, target, flusher } = world();
    source.add('a', 1_050);
    flusher.start();
    await turns(clock, 60);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([...Array(10).fill(100), 50]);
    expect(target.rows.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 1_050 }, (_, index) => index + 1));
    await flusher.close();
  });

  it('takes a quarter of the rows and rests three times as long as a batch took, while others wait', async () => {
    let busy = true;
    const { clock, source, target, flusher } = world({ isBusy: () => busy });
    target.during = async () => clock.advance(40);
    source.add('a', 1_000);
    flusher.start();
    await turns(clock);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([25]);
    await clock.advanceSlowly(110, 10);
    expect(target.batches).toHaveLength(1);
    await clock.advanceSlowly(20, 10);
    expect(target.batches).toHaveLength(2);
    busy = false;
    await clock.advanceSlowly(130, 10);
    await turns(clock, 80);
    expect(source.rows).toEqual([]);
    await flusher.close();
  });

  it('rests when the event loop comes late, though nobody waits for the database', async () => {
    const { clock, source, target, flusher } = world();
    const schedule = clock.schedule.bind(clock);
    // A turn of the event loop takes 50 ms.
    clock.schedule = (ms, run) => schedule(ms === 0 ? 50 : ms, run);
    target.during = async () => clock.advance(20);
    source.add('a', 300);
    flusher.start();
    await clock.advanceSlowly(50, 10);
    expect(target.batches).toHaveLength(1);
    await clock.advanceSlowly(50, 10);
    expect(target.batches).toHaveLength(1);
    await clock.advanceSlowly(120, 10);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([100, 25]);
    await flusher.close();
  });

  it.each([
    ['while strict events wait', { mode: 'strict' as const }],
    ['near the largest size', { bounds: { bytes: 60_000, ageMs: 3_600_000 } }],
    ['near the largest age', { bounds: { bytes: 1_000_000_000, ageMs: 1_000 } }],
  ])('does not rest %s', async (_when, more) => {
    const { clock, source, target, flusher } = world({ isBusy: () => true, ...more });
    source.oldestAt = clock.now() - 900;
    source.add('a', 600);
    flusher.start();
    await turns(clock, 6);
    expect(target.batches.length).toBeGreaterThan(1);
    expect(target.batches[1]?.rows).toHaveLength(100);
    await flusher.close();
  });

  it('cuts a backlog of large events into batches of about a mebibyte', async () => {
    const { clock, source, target, flusher } = world();
    source.add('a', 90, 20_000);
    source.sign('a', 40);
    source.sign('a', 90);
    flusher.start();
    await turns(clock);
    expect(target.batches.map(({ rows }) => rows.length)).toEqual([52, 38]);
    expect(target.batches.map(({ checkpoints }) => checkpoints.map(({ sequence }) => sequence))).toEqual([[40], [90]]);
    expect(source.checkpoints).toEqual([]);
    await flusher.close();
  });

  it('waits longer and longer, at random, while central storage is away, and says so once', async () => {
    const { clock, source, target, log, flusher, append } = world({ retry: { baseMs: 100, maxMs: 1_000 } });
    target.isAway = true;
    source.add('a', 1);
    flusher.start();
    await turns(clock);
    await clock.advanceSlowly(20_000, 20);
    // Twenty tries a second would be no waiting; on average half of the bound passes between two.
    expect(flusher.status.failures).toBeGreaterThan(20);
    expect(flusher.status.failures).toBeLessThan(120);
    const before = flusher.status.failures;
    for (let index = 0; index < 20; index += 1) append(1);
    flusher.wake();
    await turns(clock, 2);
    expect(flusher.status.failures - before).toBeLessThanOrEqual(1);
    expect(log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    target.isAway = false;
    await clock.advanceSlowly(1_000, 20);
    expect(target.rows).toHaveLength(21);
    expect(flusher.status).toMatchObject({ failures: 0, waiting: { events: 0 } });
    expect(log.lines.at(-1)).toContain('reaches central storage again');
    await flusher.close();
  });

  it('tries soon when it hears that central storage is back', async () => {
    const { clock, source, target, flusher } = world({ retry: { baseMs: 100, maxMs: 3_600_000 } });
    target.isAway = true;
    source.add('a', 1);
    flusher.start();
    await turns(clock);
    await clock.advanceSlowly(100_000, 1_000);
    target.isAway = false;
    flusher.recovered();
    await clock.advanceSlowly(100, 10);
    expect(target.rows).toHaveLength(1);
    await flusher.close();
  });

  it('stops a chain that clashes, raises one alarm, and lets the others go on', async () => {
    const { clock, source, target, log, flusher, append, clashes } = world();
    target.foreign.add('b');
    source.add('a', 2);
    source.add('b', 2);
    source.add('a', 1);
    flusher.start();
    await turns(clock);
    expect(clashes).toEqual([{ chainId: 'b', sequence: 1 }]);
    expect(target.rows.map(({ chainId }) => chainId)).toEqual(['a', 'a', 'a']);
    append(2, 'a');
    append(2, 'b');
    await clock.advanceSlowly(500);
    expect(target.rows).toHaveLength(5);
    expect(flusher.status.clashes).toEqual([{ chainId: 'b', sequence: 1 }]);
    await clock.advanceSlowly(65_000, 1_000);
    expect(clashes).toHaveLength(1);
    expect(log.lines.filter((line) => line.includes('another event in the place'))).toHaveLength(1);
    target.foreign.clear();
    await clock.advanceSlowly(65_000, 1_000);
    expect(source.rows).toEqual([]);
    expect(flusher.status.clashes).toEqual([]);
    await flusher.close();
  });

  it('compares the chains before the first flush, as soon as central storage answers', async () => {
    const { clock, source, target, flusher, agreed } = world();
    target.isAway = true;
    source.add('a', 1);
    flusher.start();
    await turns(clock);
    expect([target.attempts, agreed]).toEqual([0, []]);
    target.isAway = false;
    await clock.advanceSlowly(10_000, 100);
    expect(agreed).toEqual([{ chainId: 'a', sequence: 0, hash: new Uint8Array() }]);
    expect(target.rows).toHaveLength(1);
    await flusher.close();
  });

  it('brings checkpoints that come without an event', async () => {
    const { clock, source, target, flusher } = world();
    flusher.start();
    await turns(clock);
    source.sign('a', 1);
    await clock.advanceSlowly(5_000, 100);
    expect(target.batches.map(({ checkpoints }) => checkpoints.length)).toEqual([1]);
    await flusher.close();
  });

  it('has partitions made at the start and twice a day, and bears that they are not', async () => {
    const { clock, target, log, flusher } = world();
    flusher.start();
    await turns(clock);
    expect(target.prepared).toBe(1);
    target.prepare = async () => {
      target.prepared += 1;
      throw new Error('no room');
    };
    for (let hour = 0; hour < 13; hour += 1) await clock.advanceSlowly(3_600_000, 600_000);
    expect(target.prepared).toBeGreaterThan(1);
    expect(log.lines.at(-1)).toContain('no room');
    expect(flusher.status.failures).toBe(0);
    await flusher.close();
  });

  it('flushes what is left before it ends', async () => {
    const { clock, source, target, flusher, listeners } = world({ isBusy: () => true });
    flusher.start();
    await turns(clock);
    source.add('a', 250);
    const draining = flusher.drain(5_000);
    await turns(clock, 40);
    expect(await draining).toEqual({ left: 0 });
    expect(target.rows).toHaveLength(250);
    expect(listeners.size).toBe(0);
  });

  it('ends in time though central storage is away or hangs, and says what stays behind', async () => {
    for (const hangs of [false, true]) {
      const { clock, source, target, flusher } = world();
      flusher.start();
      await turns(clock);
      source.add('a', 5);
      target.isAway = !hangs;
      if (hangs) target.during = () => new Promise(() => {});
      const draining = flusher.drain(2_000);
      await clock.advanceSlowly(2_000, 100);
      expect(await draining).toEqual({ left: 5 });
      const before = target.attempts;
      await clock.advanceSlowly(60_000, 1_000);
      expect(target.attempts).toBe(before);
    }
  });
});
