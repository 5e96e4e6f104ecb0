import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';

/** What those are told who may know that a person is locked; no delay after the hard stop. */
export function subjectLocked(
  retryAfterMs: DurationMs | undefined,
  metadata: Readonly<Record<string, string>> = {},
): Fault {
  return retryAfterMs === undefined
    ? new Fault('limited', 'SUBJECT_LOCKED', 'the person is locked until an operator unlocks them', { metadata })
    : new Fault('limited', 'SUBJECT_LOCKED', 'the person is locked for a while', {
        metadata,
        retryAfterMs: Math.max(0, retryAfterMs),
      });
}
