import { expect, vi } from 'vitest';
import { DATABASE } from '../../scripts/servers/central-database.ts';
import type { Fleet } from './fleet.ts';
import type { Acknowledged } from './fleet-load.ts';
import { type CentralEvent, centralEvents, namedUncertain, verifyTrail, whenFlushed } from './fleet-trail.ts';

export interface BalanceOptions {
  /**
   * A sidecar or PostgreSQL died in the middle of something: what was under way is named as uncertain whether or not it
   * took effect, since nobody knows. Otherwise every effect has one event that stands.
   */
  readonly mayBeUncertain?: boolean;
}

export interface Balance {
  readonly events: readonly CentralEvent[];
  readonly uncertain: number;
}

/** How commits ended whose reply was lost is found out in the background, once the server itself knows. */
const SETTLED_MS = 15_000;

/**
 * Compares what callers were told, what is in the tables, and what the central trail says, once all is flushed: every
 * grant has one effect and one event, none is there twice, what did not happen is named, and all chains verify.
 */
export async function balance(fleet: Fleet, told: Acknowledged, options: BalanceOptions = {}): Promise<Balance> {
  // Apart, since catching up takes its time, and is what is told when it never ends.
  await whenFlushed(fleet);
  const balanced = await vi.waitFor(() => balanceNow(fleet, told, options), { timeout: SETTLED_MS, interval: 300 });
  const verdict = await verifyTrail(fleet);
  expect(verdict).toMatchObject({ intact: true });
  expect(verdict.rows).toBeGreaterThanOrEqual(balanced.events.length);
  return balanced;
}

async function balanceNow(fleet: Fleet, told: Acknowledged, options: BalanceOptions): Promise<Balance> {
  await whenFlushed(fleet);
  const { postgres } = fleet;
  const events = await centralEvents(postgres);
  const named = namedUncertain(events);
  const twice = [...Map.groupBy(events, ({ id }) => id).values()].filter(({ length }) => length > 1);
  expect(twice.flat(), 'events that are there twice').toEqual([]);

  const sessions = await postgres.query<{ id: string; ended_at: string | null }>(
    'SELECT id, ended_at FROM sessions',
    [],
    DATABASE,
  );
  const challenges = await postgres.query<{ id: string }>('SELECT id FROM challenges', [], DATABASE);
  const idsOf = (rows: Iterable<{ readonly id: string }>) => [...rows].map(({ id }) => id);
  const ended = sessions.filter(({ ended_at }) => ended_at !== null);
  compare('session.created', idsOf(sessions), idsOf(told.sessions.values()), 'sessionId');
  compare('session.ended', idsOf(ended), [...told.ended], 'sessionId');
  compare('challenge.bypassed', idsOf(challenges), idsOf(told.challenges.values()), 'challengeId');

  return { events, uncertain: named.size };

  function compare(
    type: string,
    effects: readonly string[],
    acknowledged: readonly string[],
    key: 'sessionId' | 'challengeId',
  ): void {
    const of = events.filter((event) => event.type === type);
    const standing = Map.groupBy(
      of.filter(({ id }) => !named.has(id)),
      (event) => event[key],
    );
    const all = new Set(of.map((event) => event[key]));
    const there = new Set(effects);
    expect(new Set(acknowledged).size, `${type}: two grants of one thing`).toBe(acknowledged.length);
    expect(
      acknowledged.filter((id) => !there.has(id)),
      `${type}: acknowledged without effect`,
    ).toEqual([]);
    const stands = options.mayBeUncertain ? all : standing;
    const silentGrants = acknowledged.filter((id) => !stands.has(id));
    expect(silentGrants, `${type}: acknowledged, and no event stands`).toEqual([]);
    const doubled = [...standing].filter(([, claims]) => claims.length > 1).map(([id]) => id);
    expect(doubled, `${type}: two events stand for one effect`).toEqual([]);
    expect(
      [...standing.keys()].filter((id) => !there.has(id)),
      `${type}: an event stands for nothing`,
    ).toEqual([]);
    const silent = effects.filter((id) => !stands.has(id));
    expect(silent, `${type}: an effect without its event`).toEqual([]);
  }
}
