import type { DurationMs } from '#src/domain/time.ts';
import type { EventPosition } from '#src/ports/audit.ts';

/** How far central storage has the trail, and who waits for it to come further. */
export class FlushMark {
  #position: EventPosition = 0;
  readonly #waiting = new Set<{ readonly position: EventPosition; readonly resolve: (isThrough: boolean) => void }>();

  moveTo(position: EventPosition): void {
    this.#position = Math.max(this.#position, position);
    for (const one of this.#waiting) if (one.position <= this.#position) one.resolve(true);
  }

  /** False when it has not come as far in time. */
  async through(position: EventPosition, timeoutMs: DurationMs): Promise<boolean> {
    if (position <= this.#position) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const waiting = { position, resolve };
    this.#waiting.add(waiting);
    const timer = setTimeout(() => resolve(false), timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    }
  }
}
