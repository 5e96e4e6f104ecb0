import type { DurationMs } from '../../domain/time.ts';
import type { Clock } from '../../ports/runtime.ts';

/**
 * Calls back once after `delayMs`, but only after what had arrived by then was read. After a pause of the process timers
 * come before sockets, and a server would be blamed for an answer that lies there. The disposer cancels.
 */
export function scheduleFairly(clock: Clock, delayMs: DurationMs, run: () => void): () => void {
  let late: NodeJS.Immediate | undefined;
  const cancel = clock.schedule(delayMs, () => {
    late = setImmediate(run);
  });
  return () => {
    cancel();
    if (late) clearImmediate(late);
  };
}
