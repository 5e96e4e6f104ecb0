import type { EpochMs } from '../domain/time.ts';

export type DependencyName = 'redis' | 'postgres';

/** How a dependency is doing, as this sidecar sees it. */
export interface DependencyState {
  readonly name: DependencyName;
  readonly up: boolean;
  /** When it became so. */
  readonly since: EpochMs;
}

/** What the sidecar depends on beside its own disk; nothing in embedded mode. Reading a state costs nothing. */
export interface Dependencies {
  readonly states: readonly DependencyState[];
  /** Undefined where there is no such dependency. */
  state(name: DependencyName): DependencyState | undefined;
  /** Told after each change; the disposer unsubscribes. */
  onChange(listener: (state: DependencyState) => void): () => void;
}

/** Embedded mode. */
export const NO_DEPENDENCIES: Dependencies = { states: [], state: () => undefined, onChange: () => () => {} };
