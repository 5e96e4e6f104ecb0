import { Fault } from '../domain/faults.ts';
import type { DurationMs } from '../domain/time.ts';

const UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** Node timers take 31 bits of milliseconds; a longer timeout would fire at once. */
export const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * `grpc-timeout` (gRPC over HTTP/2, Timeout) in milliseconds, clamped to the longest timer; undefined if there is none.
 * Throws Fault(invalid, FIELD_INVALID) for anything else than 1 to 8 digits and a unit.
 */
export function parseGrpcTimeout(value: string | undefined): DurationMs | undefined {
  if (value === undefined) return undefined;
  const [, digits = '', unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(value) ?? [];
  const factor = UNITS[unit];
  if (factor === undefined)
    throw invalidTimeout('grpc-timeout', 'must be 1 to 8 digits and a unit of H, M, S, m, u, n');
  return Math.min(Number(digits) * factor, LONGEST_TIMEOUT_MS);
}

/** `connect-timeout-ms` (Connect protocol, Timeout) in milliseconds, clamped likewise. */
export function parseConnectTimeout(value: string | undefined): DurationMs | undefined {
  if (value === undefined) return undefined;
  if (!/^\d{1,10}$/.test(value)) throw invalidTimeout('connect-timeout-ms', 'must be 1 to 10 digits');
  return Math.min(Number(value), LONGEST_TIMEOUT_MS);
}

function invalidTimeout(field: string, description: string): Fault {
  return new Fault('invalid', 'FIELD_INVALID', `${field}: ${description}`, {
    violations: [{ field, description }],
    metadata: { field },
  });
}
