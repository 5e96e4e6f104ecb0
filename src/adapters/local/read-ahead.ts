import type { Backlog, FlushSource } from '#src/adapters/audit/contract.ts';
import { sameBytes } from '#src/adapters/audit/row-hash.ts';
import type { ChainRow } from '#src/ports/audit.ts';
import type { TrailPort } from './trail-port.ts';

/**
 * Reads the next backlog while central storage takes the one before: catching up with an outage is for a third the reading
 * of what comes next. Only where a backlog is full, so that there is more; and what was read ahead is used only if it
 * goes on where the last noted flush ended, and is full as well, since later rows may have come behind a short one.
 */
export class ReadAhead implements Pick<FlushSource, 'backlog'> {
  readonly #worker: Pick<TrailPort, 'backlog'>;
  #ahead: Promise<Backlog | undefined> | undefined;
  #flushed: ChainRow | undefined;

  constructor(worker: Pick<TrailPort, 'backlog'>) {
    this.#worker = worker;
  }

  async backlog(limit: number): Promise<Backlog> {
    const found = (await this.#fromAhead(limit)) ?? (await this.#worker.backlog(limit, 0));
    const last = found.rows.at(-1);
    this.#ahead =
      last && found.rows.length === limit
        ? this.#worker.backlog(limit, last.sequence + 1).catch(() => undefined)
        : undefined;
    return found;
  }

  /** That is noted: all of its chain up to this row has left. */
  flushed(last: ChainRow | undefined): void {
    this.#flushed = last ?? this.#flushed;
  }

  async #fromAhead(limit: number): Promise<Backlog | undefined> {
    const found = await this.#ahead;
    const [first] = found?.rows ?? [];
    // A hash names the chain and all of it up to there: the file may have been set aside, and another chain have begun.
    const goesOn = first && this.#flushed && sameBytes(first.previousHash, this.#flushed.hash);
    return goesOn && found?.rows.length === limit ? found : undefined;
  }
}
