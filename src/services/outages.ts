import type { Sensitivity } from '../domain/action.ts';
import { Fault } from '../domain/faults.ts';
import {
  courseOf,
  isOfUse,
  longestWithoutPostgres,
  type Outage,
  type OutageLimits,
  outageOf,
  type Presence,
  SAME_OUTAGE_WITHIN,
  type Work,
} from '../domain/outage.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';
import type { Dependencies, DependencyName, DependencyState } from '../ports/dependencies.ts';
import type { Clock } from '../ports/runtime.ts';
import type { OutageGate } from './contracts.ts';
import type { OutageRecord } from './outage-record.ts';

export interface OutagesDependencies {
  readonly dependencies: Dependencies;
  readonly limits: OutageLimits;
  /** What refused callers are told to wait, in RetryInfo. */
  readonly retryAfterMs: DurationMs;
  readonly record: Pick<OutageRecord, 'entered' | 'left'>;
  readonly clock: Clock;
}

/** Wall time and time by `Clock.monotonic`: the one can be set back, the other stops while the machine sleeps. */
interface Instant {
  readonly wall: EpochMs;
  readonly monotonic: number;
}

interface Away {
  /** When the time without it began to count. */
  readonly since: Instant;
  /** When this time away began; later than `since` if it follows closely on another. */
  readonly entered: Instant;
}

/**
 * Follows the dependencies through their outages: says what may go on, shows it, and has it recorded. While all is well it
 * costs its callers one comparison with ''.
 */
export class Outages implements OutageGate, Disposable {
  readonly #deps: OutagesDependencies;
  readonly #away = new Map<DependencyName, Away>();
  /** The last outage of each, and when it ended. */
  readonly #over = new Map<DependencyName, { readonly away: Away; readonly at: Instant }>();
  readonly #unsubscribe: () => void;
  #outage: Outage | undefined;
  #degraded = '';

  constructor(deps: OutagesDependencies) {
    this.#deps = deps;
    const { dependencies } = deps;
    this.#unsubscribe = dependencies.onChange((state) => this.#changed(state));
    for (const state of dependencies.states) if (!state.up) this.#changed(state);
  }

  get degraded(): string {
    return this.#degraded;
  }

  get mode(): 'embedded' | 'shared' | 'degraded' {
    if (this.#outage !== undefined) return 'degraded';
    return this.#deps.dependencies.states.length === 0 ? 'embedded' : 'shared';
  }

  /** What the sidecar depends on, and how it is; empty when embedded. */
  get dependencies(): readonly DependencyState[] {
    return this.#deps.dependencies.states;
  }

  admit(work: Work, sensitivity: Sensitivity): void {
    const outage = this.#outage;
    if (outage === undefined) return;
    const { limits, retryAfterMs } = this.#deps;
    if (courseOf(work, outage, sensitivity, limits, this.#awayMs('postgres')) === 'goes_on') return;
    const dependency = this.#degraded;
    throw new Fault(
      'unavailable',
      'STORE_UNAVAILABLE',
      `${dependency} is away, and use for what is ${sensitivity} does not go on without it; try again in a moment`,
      { retryAfterMs, metadata: { dependency, sensitivity } },
    );
  }

  /** Whether traffic should come here, and in words why not, or what is missing all the same. */
  readiness(): { readonly ready: boolean; readonly lines: readonly string[] } {
    const { limits } = this.#deps;
    const now = this.#now();
    const lines = [...this.#away].map(
      ([name, { entered }]) => `degraded: ${name} is away for ${seconds(between(entered, now))}`,
    );
    const awayMs = this.#awayMs('postgres');
    const ready = isOfUse(this.#outage, limits, awayMs);
    if (this.#outage === 'postgres') {
      const longest = longestWithoutPostgres(limits);
      lines.push(
        ready
          ? `known sessions go on without postgres for ${seconds(longest - awayMs)} more at most`
          : `nothing goes on without postgres for longer than ${seconds(longest)}`,
      );
    }
    if (this.#outage === 'both') lines.push('nothing goes on until one of them is back');
    return { ready, lines };
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #changed(state: DependencyState): void {
    const { record } = this.#deps;
    const { name } = state;
    const now = this.#now();
    const known = this.#away.get(name);
    if (!state.up && known === undefined) {
      const last = this.#over.get(name);
      // A sidecar can learn of it late.
      const late = Math.max(0, now.wall - state.since);
      const entered = { wall: now.wall - late, monotonic: now.monotonic - late };
      const isSame = last !== undefined && atLeast(last.at, entered) < SAME_OUTAGE_WITHIN;
      this.#away.set(name, { since: isSame ? last.away.since : entered, entered });
      record.entered(name, entered.wall);
    } else if (state.up && known !== undefined) {
      this.#away.delete(name);
      this.#over.set(name, { away: known, at: now });
      record.left(name, known.entered.wall, between(known.entered, now));
    }
    this.#judge();
  }

  #judge(): void {
    const { dependencies } = this.#deps;
    const presence = (name: DependencyName): Presence => {
      if (this.#away.has(name)) return 'away';
      return dependencies.state(name) === undefined ? 'none' : 'up';
    };
    this.#outage = outageOf(presence('redis'), presence('postgres'));
    this.#degraded = NAMES.filter((name) => this.#away.has(name)).join(',');
  }

  #awayMs(name: DependencyName): DurationMs {
    const away = this.#away.get(name);
    return away === undefined ? 0 : between(away.since, this.#now());
  }

  #now(): Instant {
    const { clock } = this.#deps;
    return { wall: clock.now(), monotonic: clock.monotonic() };
  }
}

const NAMES: readonly DependencyName[] = ['redis', 'postgres'];

/** Time by the clock that saw more of it. */
function between(from: Instant, to: Instant): DurationMs {
  return Math.max(0, to.wall - from.wall, to.monotonic - from.monotonic);
}

/** Time by the clock that saw less of it. */
function atLeast(from: Instant, to: Instant): DurationMs {
  return Math.min(to.wall - from.wall, to.monotonic - from.monotonic);
}

function seconds(ms: DurationMs): string {
  return `${Math.floor(ms / 1000)} s`;
}
