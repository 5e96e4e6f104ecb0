import { setTimeout as pause } from 'node:timers/promises';
import { expect, vi } from 'vitest';
import { AdminService, RunMode } from '#src/gen/sallyport/v1/admin_pb.js';
import { DoomedSessions } from './doomed-sessions.ts';
import type { Fleet } from './fleet.ts';
import { centralEvents, namedUncertain, verifyTrail, whenFlushed } from './fleet-trail.ts';
import { type Call, violations } from './history-checker.ts';
import { RunningTime } from './running-time.ts';
import { Traffic } from './traffic.ts';
import type { TrafficRecord } from './traffic-calls.ts';
import { timedBy, type ValidationTimes } from './validation-times.ts';

/** Something that is done to Redis while people are at work. */
export interface Trouble {
  readonly name: string;
  begin(traffic: Traffic): Promise<void>;
  /** Between begin and end; 3 s if left out. */
  readonly lastsMs?: number;
  end(): Promise<void>;
  /** Which sidecars have to give up on Redis meanwhile; all of them if left out. */
  readonly degrades?: readonly number[];
  /** They may be back before anybody has looked: only the trail has to tell of it. */
  readonly isShort?: boolean;
  /** How long it may take until a stream at another sidecar tells of an approval; 3 s if left out. */
  readonly toldMs?: number;
}

const QUIET_MS = 1_000;
/** 99 of 100 within 100 ms. */
const SHARE = 0.01;
/**
 * A machine with other things to do makes any call late now and then: then the same traffic a moment before the trouble is the
 * measure, or how the test itself is held up, and the trouble may come again. Who waits for Redis is late each time, and for
 * longer than a second, which nobody ever may be.
 */
const BUSY = 3;
const HELD_UP_MS = 20;
const HELD_UP_SHARE = 0.5;
const AGAIN = 2;
/** Until the trail has what goes into it in the background. */
const SETTLED_MS = 15_000;
/** Until every sidecar has noticed, should the trouble not last longer anyway. */
const NOTICED_MS = 5_000;
/** Of what is asked during the trouble, at most so much is refused, for PostgreSQL may be slow then: not all, nor most. */
const REFUSED = 0.3;
/**
 * How long after an acknowledged end a validation elsewhere may still begin and be told yes (docs/shared-state.md): at any
 * time, and while all sidecars know that Redis is away.
 */
const STALE_MS = 2_000;
const STEADILY_STALE_MS = 1_000;

/**
 * People at work before, during and after the trouble; then everything that was promised is checked: by what the callers
 * saw, by the tables and the trail in PostgreSQL, and by the sidecars' own clocks.
 */
export async function goThrough(fleet: Fleet, trouble: Trouble): Promise<Traffic> {
  const { name, toldMs = 3_000 } = trouble;
  await whenWell(fleet);
  const evaluated = await wrongCodes(fleet);
  const outages = await outagesTold(fleet);
  using time = new RunningTime();
  const traffic = await Traffic.start(fleet, { name, seed: name });
  let during: Lasted;
  let commands: number;
  const spells: Lasted[] = [];
  let usual = SHARE;
  try {
    const before = await timedBy(fleet, () => pause(QUIET_MS));
    usual = Math.max(SHARE, BUSY * before.late);
    await traffic.guess('ann', 2);
    await traffic.guess('bob', 2);
    during = await once(fleet, traffic, trouble);
    spells.push(during);
    await traffic.guess('bob', 2);
    for (let again = 0; again < AGAIN && during.late > allowedIn(during, usual); again += 1) {
      during = await once(fleet, traffic, trouble);
      spells.push(during);
    }
    commands = await copiesAsked(fleet);
    await pause(QUIET_MS);
    await traffic.guess('ann', 12);
    await traffic.guess('bob', 12);
  } finally {
    await traffic.stop();
  }

  const { record } = traffic;
  const allowed = allowedIn(during, usual);
  const slowest = durations(traffic);
  process.stdout.write(
    `${name}: ${record.calls.length} calls, ${JSON.stringify([...record.unavailable])} unavailable; ValidateSession in the sidecar: ${during.calls}, ${(during.late * 100).toFixed(2)} % over 100 ms (${(allowed * 100).toFixed(2)} % allowed; test held up for ${during.heldUpMs.toFixed(0)} ms); seen by callers: p99 ${slowest.p99.toFixed(0)} ms, longest ${slowest.longest.toFixed(0)} ms; last yes to what had ended ${lastYes(traffic).toFixed(0)} ms late; streams told after ${Math.max(0, ...record.followed).toFixed(0)} ms at most\n`,
  );
  expect(record.wrong).toEqual([]);
  expect(Math.max(0, ...record.followed), 'ms until a stream elsewhere told of an approval').toBeLessThan(
    toldMs + time.longestStandMs,
  );
  const { asked, refused } = during;
  expect(refused, JSON.stringify([...record.unavailable])).toBeLessThanOrEqual(REFUSED * asked);
  const rules = { guesses: 5, lockMs: 900_000, liveSessions: 5, staleMs: STALE_MS };
  expect(violations(record.calls, rules).map(({ what }) => what)).toEqual([]);
  expect(lateAnswers(record.calls, STEADILY_STALE_MS, (end, yes) => isSteady(spells, end, yes))).toEqual([]);
  // Whoever has ended it never says yes to it again.
  expect(lateAnswers(record.calls, 0, (end, yes) => end.sidecar === yes.sidecar)).toEqual([]);
  const guesses = (await wrongCodes(fleet)) - evaluated;
  expect(guesses, 'guesses evaluated over two people').toBeLessThanOrEqual(10);
  expect(guesses, 'guesses evaluated over two people').toBeGreaterThan(0);
  expect(await traffic.aftermath()).toEqual([]);
  expect(during.tooLong, 'validations that took a sidecar over a second').toBe(0);
  expect(during.late, 'share of validations that took a sidecar over 100 ms').toBeLessThanOrEqual(allowed);
  expect(await copiesAsked(fleet), 'commands for copies').toBeGreaterThan(commands);
  await checkTrail(fleet, traffic);
  const told = await outagesTold(fleet);
  for (const index of degradesOf(fleet, trouble)) {
    const [before, after] = [outages[index] ?? 0, told[index] ?? 0];
    expect(after - before, `outages that the trail of sidecar ${index} tells`).toBeGreaterThan(0);
  }
  return traffic;
}

/** The share of validations that may be late. */
function allowedIn({ heldUpMs }: ValidationTimes, usual: number): number {
  return heldUpMs > HELD_UP_MS ? Math.max(usual, HELD_UP_SHARE) : usual;
}

/** Every grant has its event in PostgreSQL, once, and all chains verify. */
async function checkTrail(fleet: Fleet, { record }: Traffic): Promise<void> {
  // How commits ended whose reply was lost is found out in the background.
  await vi.waitFor(() => checkEvents(fleet, record), { timeout: SETTLED_MS, interval: 300 });
  await whenFlushed(fleet);
  // What sidecars write by themselves goes on meanwhile.
  const before = (await verifyTrail(fleet)).rows;
  const events = await centralEvents(fleet.postgres);
  const verified = await verifyTrail(fleet);
  expect(verified).toMatchObject({ intact: true });
  expect(events.length).toBeGreaterThanOrEqual(before);
  expect(events.length).toBeLessThanOrEqual(verified.rows);
}

async function checkEvents(fleet: Fleet, record: TrafficRecord): Promise<void> {
  await whenFlushed(fleet);
  const events = await centralEvents(fleet.postgres);
  // Of calls that a database on a busy machine gave up; who asked was told of no success.
  const named = namedUncertain(events);
  const count = (type: string, key: 'sessionId' | 'challengeId', id: string) =>
    events.filter((event) => event.type === type && event[key] === id && !named.has(event.id)).length;
  const notOnce = (type: string, key: 'sessionId' | 'challengeId', ids: Iterable<string>) =>
    [...ids].filter((id) => count(type, key, id) !== 1).map((id) => `${type} ${id}`);
  expect([
    ...notOnce('session.created', 'sessionId', record.sessions),
    ...notOnce('session.ended', 'sessionId', record.ended),
    ...notOnce('challenge.approved', 'challengeId', record.approved),
    ...notOnce('receipt.redeemed', 'challengeId', record.redeemed),
  ]).toEqual([]);
  for (const [id, times] of Map.groupBy(record.steppedUp, (sessionId) => sessionId)) {
    const told = count('session.stepped_up', 'sessionId', id);
    const unsure = record.perhapsSteppedUp.filter((sessionId) => sessionId === id).length;
    expect(told).toBeGreaterThanOrEqual(times.length);
    expect(told).toBeLessThanOrEqual(times.length + unsure);
  }
}

/** Outages of Redis from their beginning to their end, by sidecar; both are written down a moment after they are seen. */
function outagesTold(fleet: Fleet): Promise<readonly number[]> {
  return vi.waitFor(() => outagesToldNow(fleet), { timeout: SETTLED_MS, interval: 200 });
}

async function outagesToldNow(fleet: Fleet): Promise<readonly number[]> {
  await whenFlushed(fleet);
  const events = (await centralEvents(fleet.postgres)).filter(({ facts }) => facts['dependency'] === 'redis');
  const chains = await Promise.all(fleet.sidecars.map((_, index) => infoOf(fleet, index)));
  return chains.map(({ auditChainId }) => {
    const own = events.filter(({ chainId }) => chainId === auditChainId);
    const [entered, left] = ['outage.entered', 'outage.left'].map((type) => own.filter((event) => event.type === type));
    expect(left?.length, 'outages that ended').toBe(entered?.length);
    return left?.length ?? 0;
  });
}

function degradesOf(fleet: Fleet, { degrades }: Trouble): readonly number[] {
  return degrades ?? [...fleet.sidecars.keys()];
}

/** Of validations, as callers saw them. */
function durations({ record }: Traffic): { readonly p99: number; readonly longest: number } {
  const all = record.calls
    .filter(({ kind }) => kind === 'validate')
    .map(({ startedAt, endedAt }) => endedAt - startedAt)
    .sort((a, b) => a - b);
  return { p99: all[Math.floor(all.length * 0.99)] ?? 0, longest: all.at(-1) ?? 0 };
}

/** How long after an acknowledged end a validation began that was told yes, at most. */
function lastYes({ record }: Traffic): number {
  const ends = new Map<string, number>();
  for (const call of record.calls)
    if (call.kind === 'end' && call.outcome === 'ended')
      ends.set(call.session, Math.min(call.endedAt, ends.get(call.session) ?? Number.POSITIVE_INFINITY));
  const late = record.calls.flatMap((call) => {
    const end = call.kind === 'validate' && call.outcome === 'yes' ? ends.get(call.session) : undefined;
    return end === undefined ? [] : [call.startedAt - end];
  });
  return late.reduce((most, each) => Math.max(most, each), 0);
}

/** Yes to what had ended longer ago than this, for some pairs of an end and a yes. */
function lateAnswers(calls: readonly Call[], staleMs: number, counts: (end: Call, yes: Call) => boolean) {
  const rules = { guesses: Number.POSITIVE_INFINITY, lockMs: 0, liveSessions: Number.POSITIVE_INFINITY, staleMs };
  return violations(calls, rules)
    .filter(({ calls: [end, yes] }) => end !== undefined && yes !== undefined && counts(end, yes))
    .map(({ what }) => what);
}

/** Both while every sidecar knew of the trouble. */
function isSteady(spells: readonly Lasted[], end: Call, yes: Call): boolean {
  return spells.some(({ knownFrom, until }) => end.startedAt >= knownFrom && yes.endedAt <= until);
}

interface Lasted extends ValidationTimes {
  /** Calls that began during the trouble, and how many of them nobody would answer. */
  readonly asked: number;
  readonly refused: number;
  readonly from: number;
  /** When every sidecar knew of it; infinity if that is not so. */
  readonly knownFrom: number;
  readonly until: number;
}

/** The trouble from beginning to recovery. */
async function once(fleet: Fleet, traffic: Traffic, trouble: Trouble): Promise<Lasted> {
  const { name, lastsMs = 3_000, isShort = false } = trouble;
  const degrades = isShort ? [] : degradesOf(fleet, trouble);
  const isKnownToAll = degrades.length === fleet.sidecars.length;
  const doomed = isKnownToAll ? await DoomedSessions.make(fleet, `${name}-${Date.now()}`) : undefined;
  const from = performance.now();
  let knownFrom = Number.POSITIVE_INFINITY;
  let until = from;
  const times = await timedBy(fleet, async () => {
    await trouble.begin(traffic);
    for (const index of degrades)
      await vi.waitFor(() => expectDegraded(fleet, index), { timeout: Math.max(lastsMs, NOTICED_MS), interval: 20 });
    if (doomed) {
      knownFrom = performance.now();
      await doomed.end();
      await pause(STEADILY_STALE_MS);
      expect(await doomed.wrong(STEADILY_STALE_MS), 'a second after the ends').toEqual([]);
    }
    await traffic.guess('ann', 12);
    await pause(Math.max(0, from + lastsMs - performance.now()));
    until = performance.now();
    await trouble.end();
    await whenWell(fleet);
  });
  const calls = traffic.record.calls.filter(({ startedAt }) => startedAt >= from && startedAt < until);
  const refused = calls.filter(({ outcome }) => outcome === 'unknown').length;
  return { ...times, asked: calls.length, refused, from, knownFrom, until };
}

/** Resolves when every sidecar has all that it depends on, and says so. */
export async function whenWell(fleet: Fleet, limitMs = 10_000): Promise<void> {
  for (const index of fleet.sidecars.keys()) {
    const isWell = async () => {
      expect(await degradedHeader(fleet, index)).toBe('');
      expect(await infoOf(fleet, index)).toMatchObject({ mode: RunMode.SHARED, degraded: [] });
      expect(await fleet.sidecar(index).metric('sallyport_degraded')).toBe(0);
    };
    await vi.waitFor(isWell, { timeout: limitMs, interval: 20 });
  }
}

/** It says so wherever somebody may look, and is ready all the same. */
async function expectDegraded(fleet: Fleet, index: number): Promise<void> {
  const sidecar = fleet.sidecar(index);
  expect(await degradedHeader(fleet, index)).toBe('redis');
  const { mode, degraded, dependencies } = await infoOf(fleet, index);
  expect({ mode, degraded }).toEqual({ mode: RunMode.DEGRADED, degraded: ['redis'] });
  expect(dependencies.filter(({ up }) => !up).map((dependency) => dependency.name)).toEqual(['redis']);
  expect(await sidecar.metric('sallyport_degraded')).toBe(1);
  expect(await sidecar.metric('sallyport_dependency_up{dependency="redis"}')).toBe(0);
  expect(await sidecar.metric('sallyport_dependency_up{dependency="postgres"}')).toBe(1);
  const ready = await fetch(`${sidecar.adminUrl}/readyz`);
  expect({ status: ready.status, text: await ready.text() }).toEqual({
    status: 200,
    text: expect.stringMatching(/degraded: redis is away for \d+ s/),
  });
}

function infoOf(fleet: Fleet, index: number) {
  return fleet.operator(index).unary(AdminService.method.getInfo, {});
}

/** What a caller is told beside an answer. */
async function degradedHeader(fleet: Fleet, index: number): Promise<string> {
  const answer = await fetch(`${fleet.sidecar(index).httpUrl}/${AdminService.typeName}/GetInfo`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-sallyport-client': 'test' },
    body: '{}',
  });
  await answer.text();
  return answer.headers.get('sallyport-degraded') ?? '';
}

/** Wrong codes of authenticators that were evaluated, over all sidecars. */
async function wrongCodes(fleet: Fleet): Promise<number> {
  const name = 'sallyport_proofs_total{method="totp",result="wrong"}';
  const counts = await Promise.all(fleet.sidecars.map((sidecar) => sidecar.metric(name)));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Commands about copies that Redis has served since it started; by sidecars alone, since nobody else sends such. */
async function copiesAsked(fleet: Fleet): Promise<number> {
  const all = await Promise.all(
    fleet.redis.servers.map((server) => server.cli('INFO', 'commandstats').catch(() => '')),
  );
  const counts = all.join('\n').matchAll(/^cmdstat_(?:get|evalsha):calls=(\d+)/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}
