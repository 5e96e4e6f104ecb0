import { h2load, type Load, type LoadOptions } from './h2load.ts';
import { median } from './row.ts';

/** What one round measured of ours and of each bare equivalent. */
export type Round<Name extends string> = Readonly<Record<Name, Load>>;

/** The same load for several servers in turns, once to warm up and then `rounds` times. */
export async function inTurns<Name extends string>(
  ports: Readonly<Record<Name, number>>,
  load: Omit<LoadOptions, 'port'>,
  rounds: number,
): Promise<readonly Round<Name>[]> {
  const measured: Round<Name>[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const loads = new Map<string, Load>();
    for (const [name, port] of Object.entries<number>(ports)) loads.set(name, await h2load({ ...load, port }));
    if (round > 0) measured.push(Object.fromEntries(loads) as Round<Name>);
  }
  return measured;
}

/** The median over the rounds of something of one, and of its ratio to another. */
export function medianOf<Name extends string>(
  rounds: readonly Round<Name>[],
  of: (load: Load) => number,
  name: Name,
  bare: Name,
): { readonly value: number; readonly baseline: number; readonly ratio: number } {
  return {
    value: median(rounds.map((round) => of(round[name]))),
    baseline: median(rounds.map((round) => of(round[bare]))),
    ratio: median(rounds.map((round) => of(round[name]) / of(round[bare]))),
  };
}
