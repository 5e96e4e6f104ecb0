import type { SpawnSyncReturns } from 'node:child_process';

export const PAUSES_S: readonly number[];
export function withRetries<T>(
  title: string,
  attempt: () => SpawnSyncReturns<T>,
  pauses?: readonly number[],
): SpawnSyncReturns<T>;
