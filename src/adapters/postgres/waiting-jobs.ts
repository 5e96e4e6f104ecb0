import type { PostgresConnection } from './postgres-connection.ts';

/** Reads are short and somebody waits for them; units take a few round trips and may wait for other units. */
export type Lane = 'read' | 'unit';

export interface Job {
  readonly lane: Lane;
  /** Monotonic. */
  readonly since: number;
  start(connection: PostgresConnection): void;
  fail(error: unknown): void;
}

/** How many reads go first while a unit waits. */
const READS_IN_A_ROW = 8;

/** Who waits for a connection: reads before units, but not for ever, and no more units at a time than may be. */
export class WaitingJobs {
  readonly #maxWaiting: number;
  readonly #maxUnits: number;
  readonly #lanes: Readonly<Record<Lane, Set<Job>>> = { read: new Set(), unit: new Set() };
  #readsInARow = 0;

  constructor(options: { readonly maxWaiting: number; readonly maxUnits: number }) {
    this.#maxWaiting = options.maxWaiting;
    this.#maxUnits = options.maxUnits;
  }

  get size(): number {
    return this.#lanes.read.size + this.#lanes.unit.size;
  }

  /** False when there are too many already. */
  add(job: Job): boolean {
    if (this.size >= this.#maxWaiting) return false;
    this.#lanes[job.lane].add(job);
    return true;
  }

  drop(job: Job): void {
    this.#lanes[job.lane].delete(job);
  }

  /** Whose turn it is, with so many units running. */
  peek(units: number): Job | undefined {
    const [read] = this.#lanes.read;
    const [unit] = units < this.#maxUnits ? this.#lanes.unit : [];
    return unit && (!read || this.#readsInARow >= READS_IN_A_ROW) ? unit : read;
  }

  take(job: Job): void {
    this.drop(job);
    this.#readsInARow = job.lane === 'read' ? this.#readsInARow + 1 : 0;
  }

  failAll(error: unknown): void {
    const all = [...this.#lanes.read, ...this.#lanes.unit];
    this.#lanes.read.clear();
    this.#lanes.unit.clear();
    for (const job of all) job.fail(error);
  }
}
