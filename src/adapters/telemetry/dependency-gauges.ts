import type { Dependencies } from '../../ports/dependencies.ts';
import type { Clock } from '../../ports/runtime.ts';
import type { Gauge } from './tally.ts';

/**
 * What is up, what is away and since how long, and how often each went away. `degraded` is there in every mode, so that one
 * alert fits all sidecars.
 */
export function dependencyGauges(dependencies: Dependencies, clock: Clock): readonly Gauge[] {
  const outages = new Map<string, number>();
  const count = (name: string) => outages.set(name, (outages.get(name) ?? 0) + 1);
  for (const { name, up } of dependencies.states) if (!up) count(name);
  dependencies.onChange(({ name, up }) => {
    if (!up) count(name);
  });
  const ofEach = dependencies.states.flatMap(({ name }): readonly Gauge[] => {
    const labels = { dependency: name };
    const state = () => dependencies.state(name);
    return [
      {
        name: 'dependency_up',
        help: '1 while the dependency serves, 0 while it is away.',
        kind: 'gauge',
        labels,
        read: () => (state()?.up === false ? 0 : 1),
      },
      {
        name: 'dependency_away_seconds',
        help: 'For how long the dependency has been away; 0 while it serves.',
        kind: 'gauge',
        labels,
        read: () => {
          const now = state();
          return now === undefined || now.up ? 0 : Math.max(0, clock.now() - now.since) / 1000;
        },
      },
      {
        name: 'dependency_outages_total',
        help: 'How often the dependency went away since the start.',
        kind: 'counter',
        labels,
        read: () => outages.get(name) ?? 0,
      },
    ];
  });
  return [
    {
      name: 'degraded',
      help: '1 while anything is away that this sidecar depends on.',
      kind: 'gauge',
      read: () => (dependencies.states.some(({ up }) => !up) ? 1 : 0),
    },
    ...ofEach,
  ];
}
