import { Fault } from '#src/domain/faults.ts';

/** The trail cannot take events now. */
export function unavailable(message: string, cause?: unknown): Fault {
  return new Fault('unavailable', 'AUDIT_UNAVAILABLE', `${message}; nothing is granted until it can be`, {
    retryAfterMs: 1_000,
    ...(cause !== undefined && { cause }),
  });
}
