import { describe, expect, it } from 'vitest';
import { awayFor, Breaker } from '#src/adapters/shared/breaker.ts';
import { Fault } from '#src/domain/faults.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

class Outage extends Error {}

function world(failures = 3) {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const probes = { count: 0, good: false, running: 0, most: 0, hold: undefined as Promise<void> | undefined };
  const breaker = new Breaker({
    name: 'redis',
    failures,
    probeMs: 250,
    probe: async () => {
      probes.count += 1;
      probes.running += 1;
      probes.most = Math.max(probes.most, probes.running);
      await probes.hold;
      probes.running -= 1;
      if (!probes.good) throw new Outage('still away');
    },
    isOutage: (error) => error instanceof Outage,
    clock,
    random: new SeededRandom(),
    log,
  });
  const changes: boolean[] = [];
  breaker.onChange(({ up }) => changes.push(up));
  const fail = () => breaker.run(() => Promise.reject(new Outage('gone'))).catch((error: unknown) => error);
  const refuse = () => breaker.run(() => Promise.reject(new Error('no'))).catch((error: unknown) => error);
  return { breaker, clock, log, probes, changes, fail, refuse };
}

describe('the breaker', () => {
  it('lets nobody wait after so many outages in a row, and says when to try again', async () => {
    const { breaker, fail, changes } = world();
    await fail();
    await fail();
    expect(breaker.up).toBe(true);
    expect(await fail()).toBeInstanceOf(Outage);
    expect(breaker.up).toBe(false);
    let called = false;
    const refused = await breaker
      .run(async () => {
        called = true;
      })
      .catch((error: unknown) => error);
    expect(called).toBe(false);
    expect(refused).toBeInstanceOf(Fault);
    expect(refused).toMatchObject({
      kind: 'unavailable',
      reason: 'STORE_UNAVAILABLE',
      details: { retryAfterMs: 1_000, metadata: { dependency: 'redis' } },
    });
    expect(changes).toEqual([false]);
  });

  it('counts neither what succeeded in between nor what the dependency refused', async () => {
    const { breaker, fail, refuse } = world();
    await fail();
    await fail();
    expect(await breaker.run(async () => 'fine')).toBe('fine');
    await fail();
    await fail();
    await refuse();
    expect(breaker.up).toBe(true);
  });

  it('counts calls that met the same trouble side by side once', async () => {
    const { breaker, clock } = world();
    const round = async () => {
      const { promise: trouble, reject } = Promise.withResolvers<never>();
      const calls = [1, 2, 3, 4, 5].map(() => breaker.run(() => trouble).catch(() => 'failed'));
      clock.advance(50);
      reject(new Outage('slow'));
      await Promise.all(calls);
    };
    await round();
    await round();
    expect(breaker.up).toBe(true);
    await round();
    expect(breaker.up).toBe(false);
  });

  it('takes a refusal for no sign of life: it may come from this side, as when a queue is full', async () => {
    const { breaker, fail, refuse } = world();
    await fail();
    await fail();
    await refuse();
    await fail();
    expect(breaker.up).toBe(false);
  });

  it('does not count what was begun before it was away and answers when it is back', async () => {
    const { breaker, clock, fail, probes } = world();
    const late: ((error: Error) => void)[] = [];
    const begun = [1, 2, 3].map(() =>
      breaker.run(() => new Promise<void>((_, reject) => late.push(reject))).catch((error: unknown) => error),
    );
    for (let i = 0; i < 3; i++) await fail();
    probes.good = true;
    await clock.advanceSlowly(500, 50);
    expect(breaker.up).toBe(true);
    for (const reject of late) reject(new Outage('timed out'));
    await Promise.all(begun);
    expect(breaker.up).toBe(true);
  });

  it('finds out by one probe at a time when it is back, and tells it once', async () => {
    const { breaker, clock, probes, changes, log } = world();
    breaker.trip('the connection is gone');
    breaker.trip('again');
    await clock.advanceSlowly(2_000, 50);
    expect(probes.count).toBeGreaterThanOrEqual(5);
    expect(probes.count).toBeLessThanOrEqual(16);
    let release = () => {};
    probes.hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    await clock.advanceSlowly(2_000, 50);
    expect(probes.most).toBe(1);
    probes.good = true;
    release();
    await settle();
    expect(breaker.up).toBe(true);
    expect(changes).toEqual([false, true]);
    expect(await breaker.run(async () => 1)).toBe(1);
    expect(log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
  });

  it('goes on although a listener fails', async () => {
    const { breaker, clock, probes, changes } = world();
    breaker.onChange(() => {
      throw new Error('broken');
    });
    breaker.onChange(({ up }) => changes.push(up));
    breaker.trip('gone');
    probes.good = true;
    await clock.advanceSlowly(500, 50);
    expect(breaker.up).toBe(true);
    expect(changes).toEqual([false, false, true, true]);
  });

  it('stops probing when it is closed, also in the middle of a probe', async () => {
    const { breaker, clock, probes, changes } = world();
    let release = () => {};
    probes.hold = new Promise<void>((resolve) => {
      release = resolve;
    });
    probes.good = true;
    breaker.trip('gone');
    await clock.advanceSlowly(500, 50);
    expect(probes.running).toBe(1);
    breaker[Symbol.dispose]();
    release();
    await settle();
    expect(changes).toEqual([false]);
    expect(clock.pending).toBe(0);
    breaker.trip('more');
    expect(changes).toEqual([false]);
  });

  it('knows for how long it has been away, whatever the wall clock does', () => {
    const { breaker, clock } = world();
    expect(awayFor(breaker.state, clock.now())).toBe(0);
    breaker.trip('gone');
    clock.advance(100);
    expect(awayFor(breaker.state, clock.now())).toBe(100);
    expect(awayFor(breaker.state, clock.now() - 1_000)).toBe(0);
    expect(awayFor(undefined, clock.now())).toBe(0);
  });
});
