import type { Backlog, ChainHead, FlushSource } from '#src/adapters/audit/contract.ts';
import type { TrailPort } from './trail-port.ts';

interface Ahead {
  /** The last row of the backlog before. */
  readonly after: ChainHead;
  readonly limit: number;
  readonly reading: Promise<Backlog | undefined>;
}

/**
 * Reads the next backlog while central storage takes the one before: catching up with an outage is for a third the reading
 * of what comes next. Only where a backlog is full, so that there is more; and what was read ahead is used only if all
 * before it has been noted as flushed and it is full as well, since later rows may have come behind a short one.
 */
export class ReadAhead implements Pick<FlushSource, 'backlog'> {
  readonly #worker: Pick<TrailPort, 'backlog'>;
  #ahead: Ahead | undefined;
  #flushed: ChainHead | undefined;

  constructor(worker: Pick<TrailPort, 'backlog'>) {
    this.#worker = worker;
  }

  async backlog(limit: number): Promise<Backlog> {
    const found = (await this.#fromAhead(limit)) ?? (await this.#worker.backlog(limit, 0));
    const last = found.rows.at(-1);
    this.#ahead =
      last && found.rows.length === limit
        ? { after: last, limit, reading: this.#worker.backlog(limit, last.sequence + 1).catch(() => undefined) }
        : undefined;
    return found;
  }

  /** That is noted: all of its chain up to there has left. */
  flushed(through: ChainHead | undefined): void {
    if (through) this.#flushed = through;
  }

  async #fromAhead(limit: number): Promise<Backlog | undefined> {
    const ahead = this.#ahead;
    if (ahead?.limit !== limit || !this.#isFlushed(ahead.after)) return undefined;
    const found = await ahead.reading;
    const [first] = found?.rows ?? [];
    // The file may have been set aside, and another chain have begun.
    const goesOn = first?.chainId === ahead.after.chainId && first.sequence === ahead.after.sequence + 1;
    return goesOn && found?.rows.length === limit ? found : undefined;
  }

  #isFlushed({ chainId, sequence }: ChainHead): boolean {
    return this.#flushed?.chainId === chainId && this.#flushed.sequence === sequence;
  }
}
