/** How many changes are remembered for the other way in which they arrive. */
const REMEMBERED = 8_192;

interface Told {
  byNews: number;
  byLog: number;
}

/**
 * Changes come by news and by the log, in either order and sometimes by one way alone; each is passed on once. What is
 * forgotten for lack of room is passed on twice, which does no harm.
 */
export class ToldChanges {
  readonly #told = new Map<string, Told>();

  /** Whether to pass on a change that came by news. Two changes may have one key: each counts. */
  byNews(sessionId: string, at: number): boolean {
    const told = this.#of(sessionId, at);
    told.byNews += 1;
    return told.byNews > told.byLog;
  }

  byLog(sessionId: string, at: number): boolean {
    const told = this.#of(sessionId, at);
    told.byLog += 1;
    return told.byLog > told.byNews;
  }

  /** Whether news of it came. */
  heard(sessionId: string, at: number): boolean {
    return (this.#told.get(`${sessionId}@${at}`)?.byNews ?? 0) > 0;
  }

  #of(sessionId: string, at: number): Told {
    const key = `${sessionId}@${at}`;
    const known = this.#told.get(key);
    if (known) return known;
    if (this.#told.size >= REMEMBERED)
      for (const oldest of this.#told.keys()) {
        this.#told.delete(oldest);
        break;
      }
    const told: Told = { byNews: 0, byLog: 0 };
    this.#told.set(key, told);
    return told;
  }
}
