import type { Dependencies, DependencyState } from '#src/ports/dependencies.ts';

interface Watched {
  readonly state: DependencyState;
  onChange(listener: (state: DependencyState) => void): () => void;
}

/** What these connections say of themselves, as one. */
export function dependenciesOf(watched: readonly Watched[]): Dependencies {
  return {
    get states() {
      return watched.map(({ state }) => state);
    },
    state: (name) => watched.find(({ state }) => state.name === name)?.state,
    onChange: (listener) => {
      const stops = watched.map((each) => each.onChange(listener));
      return () => stops.forEach((stop) => void stop());
    },
  };
}
