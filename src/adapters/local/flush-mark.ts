import type { FlushedPositions } from '#src/adapters/audit/contract.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { EventPosition } from '#src/ports/audit.ts';

/** How far central storage has the trail, and who waits for it to come further. */
export class FlushMark {
  #has: FlushedPositions = { from: 0, through: 0 };
  readonly #waiting = new Set<{ readonly position: EventPosition; readonly resolve: (isThrough: boolean) => void }>();

  moveTo(has: FlushedPositions): void {
    this.#has = has;
    for (const one of this.#waiting) {
      const isThrough = this.#isThrough(one.position);
      if (isThrough !== undefined) one.resolve(isThrough);
    }
  }

  /** False when it has not come as far in time, or never will. */
  async through(position: EventPosition, timeoutMs: DurationMs): Promise<boolean> {
    const known = this.#isThrough(position);
    if (known !== undefined) return known;
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

  /** What is before the present chain was set aside with its file, and is never flushed. */
  #isThrough(position: EventPosition): boolean | undefined {
    if (position < this.#has.from) return false;
    return position <= this.#has.through ? true : undefined;
  }
}
