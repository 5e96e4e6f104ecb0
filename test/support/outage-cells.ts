import { SENSITIVITIES, type Sensitivity } from '#src/domain/action.ts';
import {
  type Course,
  courseOf,
  OUTAGE_TABLE,
  OUTAGES,
  type Outage,
  type OutageLimits,
  type Work,
} from '#src/domain/outage.ts';
import { type DurationMs, MINUTE } from '#src/domain/time.ts';
import type { DependencyName } from '#src/ports/dependencies.ts';

/** As the settings have them when nobody changes them; a test holds them equal. */
export const DEFAULT_LIMITS: OutageLimits = {
  postgres: { low: 15 * MINUTE, normal: 5 * MINUTE, sensitive: MINUTE, critical: 0 },
  redis: { low: 'database', normal: 'database', sensitive: 'database', critical: 'database' },
};

/** Goes on with little, to see the cells that the defaults leave out. */
export const STRICT_LIMITS: OutageLimits = {
  postgres: { low: 30_000, normal: 10_000, sensitive: 0, critical: 0 },
  redis: { low: 'database', normal: 'database', sensitive: 'refuse', critical: 'refuse' },
};

/** One cell of the outage table at one moment. */
export interface OutageCell {
  readonly work: Work;
  readonly what: string;
  readonly rpcs: readonly string[];
  readonly outage: Outage;
  readonly away: readonly DependencyName[];
  readonly sensitivity: Sensitivity;
  /** How long PostgreSQL has been away. */
  readonly awayMs: DurationMs;
  readonly limits: OutageLimits;
  readonly course: Course;
}

export const AWAY: Readonly<Record<Outage, readonly DependencyName[]>> = {
  redis: ['redis'],
  postgres: ['postgres'],
  both: ['redis', 'postgres'],
};

/**
 * Every cell: kind of work × outage × sensitivity, where time matters just before the limit and at it. For fakes and for
 * real servers alike; with real ones `awayMs` has to be waited for, so give limits of seconds.
 */
export function outageCells(limits: OutageLimits = DEFAULT_LIMITS): readonly OutageCell[] {
  const cells: OutageCell[] = [];
  for (const [work, row] of Object.entries(OUTAGE_TABLE) as [Work, (typeof OUTAGE_TABLE)[Work]][]) {
    for (const outage of OUTAGES) {
      for (const sensitivity of SENSITIVITIES) {
        const limit = limits.postgres[sensitivity];
        const moments = row[outage] === 'for_a_time' ? [...(limit > 0 ? [0, limit - 1] : []), limit] : [0];
        for (const awayMs of moments) {
          const course = courseOf(work, outage, sensitivity, limits, awayMs);
          const { what, rpcs } = row;
          cells.push({ work, what, rpcs, outage, away: AWAY[outage], sensitivity, awayMs, limits, course });
        }
      }
    }
  }
  return cells;
}
