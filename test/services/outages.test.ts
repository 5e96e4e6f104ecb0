import { describe, expect, it } from 'vitest';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { DependencyName } from '#src/ports/dependencies.ts';
import { Outages } from '#src/services/outages.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock, settle } from '../support/clock.ts';
import { outageWorld } from '../support/fake-dependencies.ts';
import { DEFAULT_LIMITS, outageCells, STRICT_LIMITS } from '../support/outage-cells.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingAudit } from '../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../support/recording-telemetry.ts';

function world(names?: readonly DependencyName[], limits = DEFAULT_LIMITS) {
  const clock = new ManualClock();
  const audit = new RecordingAudit();
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const random = new SeededRandom('outages');
  const trail = new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 10 });
  return { clock, audit, metrics, log, ...outageWorld({ trail, clock, metrics, log }, names, limits) };
}

function faultOf(run: () => void): Fault | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
    throw thrown;
  }
}

const told = ({ type, outcome, facts }: EventDraft) => ({ type, outcome, ...facts });

describe('the gate', () => {
  it.each([
    ['the defaults', DEFAULT_LIMITS],
    ['stricter limits', STRICT_LIMITS],
  ])('does in every cell of the table what the table says, under %s', (_limits, limits) => {
    for (const { work, away, sensitivity, awayMs, course } of outageCells(limits)) {
      const { clock, dependencies, outages } = world(undefined, limits);
      dependencies.leave(...away);
      clock.advance(awayMs);
      const fault = faultOf(() => outages.admit(work, sensitivity));
      const name = `${work} without ${away.join(' and ')}, ${sensitivity}, after ${awayMs} ms`;
      if (course === 'goes_on') {
        expect(fault, name).toBeUndefined();
        continue;
      }
      expect(fault, name).toMatchObject({ kind: 'unavailable', reason: 'STORE_UNAVAILABLE' });
      expect(fault?.details, name).toMatchObject({
        retryAfterMs: SECOND,
        metadata: { dependency: away.join(','), sensitivity },
      });
    }
  });

  it('lets everything through while all is up, and again once all is back', () => {
    const { dependencies, outages } = world();
    const all = () => outageCells().map(({ work, sensitivity }) => faultOf(() => outages.admit(work, sensitivity)));
    expect(all().every((fault) => fault === undefined)).toBe(true);
    dependencies.leave('redis', 'postgres');
    expect(all().some((fault) => fault !== undefined)).toBe(true);
    dependencies.comeBack('redis', 'postgres');
    expect(all().every((fault) => fault === undefined)).toBe(true);
  });

  it('takes PostgreSQL away for all there is where no Redis stands in front', () => {
    const { dependencies, outages } = world(['postgres']);
    dependencies.leave('postgres');
    expect(faultOf(() => outages.admit('validate_session', 'low'))).toBeDefined();
    expect(outages.readiness().ready).toBe(false);
  });

  it('counts the time by the clock that saw more of it', () => {
    const setBack = world();
    setBack.dependencies.leave('postgres');
    setBack.clock.advance(5 * MINUTE);
    setBack.clock.setWall(0);
    expect(faultOf(() => setBack.outages.admit('validate_session', 'normal'))).toBeDefined();
    // As when the machine slept.
    const slept = world();
    slept.dependencies.leave('postgres');
    slept.clock.setWall(slept.clock.now() + 5 * MINUTE);
    expect(faultOf(() => slept.outages.admit('validate_session', 'normal'))).toBeDefined();
  });

  it('gives a database that comes back for moments only no new time', () => {
    const { clock, dependencies, outages } = world();
    const isGood = () => faultOf(() => outages.admit('validate_session', 'sensitive')) === undefined;
    dependencies.leave('postgres');
    for (let flaps = 0; flaps < 6; flaps++) {
      expect(isGood()).toBe(true);
      clock.advance(7 * SECOND);
      dependencies.comeBack('postgres');
      clock.advance(3 * SECOND);
      dependencies.leave('postgres');
    }
    expect(isGood()).toBe(false);
    dependencies.comeBack('postgres');
    clock.advance(10 * SECOND);
    dependencies.leave('postgres');
    expect(isGood()).toBe(true);
  });

  it('counts from when a dependency went away, though it is heard of later', () => {
    const { clock, dependencies, outages } = world();
    const late = new Outages({
      dependencies: {
        states: [{ name: 'postgres', up: false, since: clock.now() - MINUTE }],
        state: (name) => dependencies.state(name),
        onChange: () => () => {},
      },
      limits: DEFAULT_LIMITS,
      retryAfterMs: SECOND,
      record: { entered() {}, left() {} },
      clock,
    });
    expect(late.degraded).toBe('postgres');
    expect(faultOf(() => late.admit('validate_session', 'normal'))).toBeUndefined();
    expect(faultOf(() => late.admit('validate_session', 'sensitive'))).toBeDefined();
    expect(outages.degraded).toBe('');
  });
});

describe('what is shown of outages', () => {
  it.each([
    [[], 'embedded', ''],
    [['postgres'], 'shared', ''],
    [['redis', 'postgres'], 'shared', ''],
  ] as const)('is, with %s and all up, the mode %s', (names, mode, degraded) => {
    const { outages } = world(names);
    expect([outages.mode, outages.degraded]).toEqual([mode, degraded]);
    expect(outages.readiness()).toEqual({ ready: true, lines: [] });
    expect(outages.dependencies.map(({ name }) => name)).toEqual(names);
  });

  it('names what is away in one order, whatever went first', () => {
    const { dependencies, outages } = world();
    dependencies.leave('postgres');
    expect([outages.mode, outages.degraded]).toEqual(['degraded', 'postgres']);
    dependencies.leave('redis');
    expect(outages.degraded).toBe('redis,postgres');
    dependencies.comeBack('postgres');
    expect(outages.degraded).toBe('redis');
    dependencies.comeBack('redis');
    expect([outages.mode, outages.degraded]).toEqual(['shared', '']);
  });

  it('is readiness without Redis, however long', () => {
    const { clock, dependencies, outages } = world();
    dependencies.leave('redis');
    clock.advance(90_500);
    expect(outages.readiness()).toEqual({ ready: true, lines: ['degraded: redis is away for 90 s'] });
  });

  it('is readiness without PostgreSQL until the longest limit has run out', () => {
    const { clock, dependencies, outages } = world();
    dependencies.leave('postgres');
    clock.advance(15 * MINUTE - 1);
    expect(outages.readiness()).toEqual({
      ready: true,
      lines: ['degraded: postgres is away for 899 s', 'known sessions go on without postgres for 0 s more at most'],
    });
    clock.advance(1);
    expect(outages.readiness()).toEqual({
      ready: false,
      lines: ['degraded: postgres is away for 900 s', 'nothing goes on without postgres for longer than 900 s'],
    });
    dependencies.comeBack('postgres');
    expect(outages.readiness()).toEqual({ ready: true, lines: [] });
  });

  it('tells how long this time is, and how much is left although the last time counts', () => {
    const { clock, dependencies, outages } = world();
    dependencies.leave('postgres');
    clock.advance(60 * SECOND);
    dependencies.comeBack('postgres');
    clock.advance(5 * SECOND);
    dependencies.leave('postgres');
    clock.advance(2 * SECOND);
    expect(outages.readiness().lines).toEqual([
      'degraded: postgres is away for 2 s',
      'known sessions go on without postgres for 833 s more at most',
    ]);
  });

  it('is no readiness without both, and readiness again with one', () => {
    const { dependencies, outages } = world();
    dependencies.leave('postgres', 'redis');
    expect(outages.readiness().ready).toBe(false);
    expect(outages.readiness().lines).toContain('nothing goes on until one of them is back');
    dependencies.comeBack('postgres');
    expect(outages.readiness().ready).toBe(true);
  });

  it('ends with the sidecar', () => {
    const { dependencies, outages } = world();
    expect(dependencies.listeners).toBe(1);
    outages[Symbol.dispose]();
    expect(dependencies.listeners).toBe(0);
  });
});

describe('the record of outages', () => {
  it('is an event when one begins and another when it ends, with how long it was', async () => {
    const { clock, audit, dependencies } = world();
    const began = clock.now();
    dependencies.leave('redis');
    await settle();
    clock.advance(42_000);
    dependencies.comeBack('redis');
    await settle();
    const since_ms = String(began);
    expect(audit.events.map(told)).toEqual([
      { type: 'outage.entered', outcome: 'FAILED', dependency: 'redis', since_ms },
      { type: 'outage.left', outcome: 'INFO', dependency: 'redis', since_ms, duration_ms: '42000' },
    ]);
    expect(audit.events.map(({ at }) => at)).toEqual([began, began + 42_000]);
  });

  it('waits for a trail that cannot take it, and is written in order once it can', async () => {
    const { clock, audit, dependencies, record, log } = world();
    audit.failure = new Fault('unavailable', 'AUDIT_UNAVAILABLE', 'full');
    dependencies.leave('postgres');
    await settle();
    await clock.advanceSlowly(MINUTE, SECOND);
    dependencies.comeBack('postgres');
    await settle();
    expect(record.waiting).toBe(2);
    audit.failure = undefined;
    await clock.advanceSlowly(31 * SECOND, SECOND);
    expect(audit.events.map(({ type }) => type)).toEqual(['outage.entered', 'outage.left']);
    expect(record.waiting).toBe(0);
    expect(clock.pending).toBe(0);
    // It is no news to whoever reads the log: the breaker said so.
    expect(log.lines.filter((line) => !line.startsWith('debug'))).toEqual([]);
  });

  it('folds what does not fit while it waits, and counts it', async () => {
    const { audit, clock, dependencies, record } = world();
    audit.failure = new Error('full');
    for (let flaps = 0; flaps < 100; flaps++) {
      dependencies.leave('redis');
      dependencies.comeBack('redis');
    }
    await settle();
    expect(record.waiting).toBe(200);
    audit.failure = undefined;
    await clock.advanceSlowly(MINUTE, SECOND);
    expect(audit.events.length).toBeLessThan(70);
    const sum = (type: string) =>
      audit.events.filter((event) => event.type === type).reduce((all, { count = 1 }) => all + count, 0);
    expect([sum('outage.entered'), sum('outage.left')]).toEqual([100, 100]);
  });

  it('is tried once more at the stop', async () => {
    const { audit, dependencies, record, metrics } = world();
    audit.failure = new Error('full');
    dependencies.leave('redis');
    await settle();
    audit.failure = undefined;
    await record.stop();
    expect(audit.events.map(({ type }) => type)).toEqual(['outage.entered']);
    expect(metrics.count('eventsLost')).toBe(0);
  });

  it('counts and tells what it loses at the stop', async () => {
    const { audit, clock, dependencies, record, metrics, log } = world();
    audit.failure = new Error('full');
    dependencies.leave('redis', 'postgres');
    await settle();
    await record.stop();
    expect(metrics.count('eventsLost')).toBe(2);
    expect(log.lines.at(-1)).toMatch(/^warn .*could not be recorded.*"count":2/);
    expect(clock.pending).toBe(0);
  });
});
