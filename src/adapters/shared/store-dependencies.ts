import type { Dependencies, DependencyState } from '../../ports/dependencies.ts';

/** What knows of one dependency how it is doing. */
export interface Watched {
  readonly state: DependencyState;
  onChange(listener: (state: DependencyState) => void): () => void;
}

/** What these connections say of themselves, as one. */
export class StoreDependencies implements Dependencies {
  readonly #watched: readonly Watched[];

  constructor(watched: readonly Watched[]) {
    this.#watched = watched;
  }

  get states(): readonly DependencyState[] {
    return this.#watched.map(({ state }) => state);
  }

  state(name: DependencyState['name']): DependencyState | undefined {
    return this.#watched.find(({ state }) => state.name === name)?.state;
  }

  onChange(listener: (state: DependencyState) => void): () => void {
    const forget = this.#watched.map((one) => one.onChange(listener));
    return () => {
      for (const each of forget) each();
    };
  }
}
