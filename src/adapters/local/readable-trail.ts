import type { CentralSubjectKeys, SubjectKey } from '#src/adapters/audit/contract.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog, EventFilter, EventPosition } from '#src/ports/audit.ts';
import type { Positioned, TrailPort } from './trail-port.ts';

export interface ReadableTrailOptions {
  readonly worker: Pick<TrailPort, 'query' | 'after'>;
  readonly central: CentralSubjectKeys;
  /** How long to wait for keys; without them persons stay pseudonyms. */
  readonly timeoutMs: DurationMs;
}

/** Reads the local file with keys that are in central storage: those of the person asked for, then those of who was found. */
export class ReadableTrail implements Pick<AuditLog, 'query' | 'after'> {
  readonly #options: ReadableTrailOptions;

  constructor(options: ReadableTrailOptions) {
    this.#options = options;
  }

  query(filter: EventFilter, limit: number, before?: EventPosition): Promise<readonly Positioned[]> {
    return this.#read(filter, (keys) => this.#options.worker.query(filter, limit, before, keys));
  }

  after(filter: EventFilter, position: EventPosition, limit: number): Promise<readonly Positioned[]> {
    return this.#read(filter, (keys) => this.#options.worker.after(filter, position, limit, keys));
  }

  async #read(
    { realm, subject }: EventFilter,
    search: (keys: readonly SubjectKey[]) => Promise<readonly Positioned[]>,
  ): Promise<readonly Positioned[]> {
    const known =
      realm && subject ? await this.#keys(async () => await this.#options.central.refsOf(realm, subject)) : [];
    const found = await search(known);
    const missing = new Set(found.filter((event) => event.subject === '').map(({ subjectRef }) => subjectRef));
    missing.delete('');
    if (missing.size === 0) return found;
    const more = await this.#keys(async () => [...missing]);
    return more.length > 0 ? await search([...known, ...more]) : found;
  }

  async #keys(refs: () => Promise<readonly string[]>): Promise<readonly SubjectKey[]> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    // Keys that lie there after a pause of the process are read first.
    const timer = setTimeout(() => setImmediate(resolve, undefined), this.#options.timeoutMs);
    try {
      const asked = refs().then((wanted) => this.#options.central.findByRefs(wanted));
      const keys = await Promise.race([asked, promise]);
      return keys ? [...keys.values()] : [];
    } catch {
      return [];
    } finally {
      clearTimeout(timer);
    }
  }
}
