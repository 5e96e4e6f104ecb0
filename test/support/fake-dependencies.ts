import { SECOND } from '#src/domain/time.ts';
import type { Dependencies, DependencyName, DependencyState } from '#src/ports/dependencies.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { OutageGate } from '#src/services/contracts.ts';
import { OutageRecord, type OutageRecordDependencies } from '#src/services/outage-record.ts';
import { Outages } from '#src/services/outages.ts';
import { DEFAULT_LIMITS } from './outage-cells.ts';

/** Nothing is ever away. */
export const ALL_UP: OutageGate = { degraded: '', admit: () => {} };

/** Dependencies that are away when the test says so; all are up at first. */
export class FakeDependencies implements Dependencies {
  readonly #clock: Clock;
  readonly #states = new Map<DependencyName, DependencyState>();
  readonly #listeners = new Set<(state: DependencyState) => void>();

  constructor(clock: Clock, names: readonly DependencyName[] = ['redis', 'postgres']) {
    this.#clock = clock;
    for (const name of names) this.#states.set(name, { name, up: true, since: clock.now() });
  }

  get states(): readonly DependencyState[] {
    return [...this.#states.values()];
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  state(name: DependencyName): DependencyState | undefined {
    return this.#states.get(name);
  }

  onChange(listener: (state: DependencyState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  leave(...names: readonly DependencyName[]): void {
    for (const name of names) this.#become(name, false);
  }

  comeBack(...names: readonly DependencyName[]): void {
    for (const name of names) this.#become(name, true);
  }

  #become(name: DependencyName, up: boolean): void {
    if (this.#states.get(name)?.up === up) return;
    const state = { name, up, since: this.#clock.now() };
    this.#states.set(name, state);
    for (const listener of [...this.#listeners]) listener(state);
  }
}

/** Fake dependencies with the real services over them, under the default limits. */
export function outageWorld(
  made: OutageRecordDependencies,
  names?: readonly DependencyName[],
  limits = DEFAULT_LIMITS,
) {
  const { clock } = made;
  const dependencies = new FakeDependencies(clock, names);
  const record = new OutageRecord(made);
  const outages = new Outages({ dependencies, limits, retryAfterMs: SECOND, record, clock });
  return { dependencies, record, outages };
}
