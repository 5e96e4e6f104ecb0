import { Fault } from '../../domain/faults.ts';

/** Whether a call failed because its store is away: then copies may help. */
export function isStoreAway(error: unknown): boolean {
  return error instanceof Fault && error.reason === 'STORE_UNAVAILABLE';
}
