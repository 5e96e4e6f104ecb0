import type { CentralSubjectKeys, SubjectKey } from '#src/adapters/audit/contract.ts';
import { openRecord, parseRecord } from '#src/adapters/audit/record.ts';
import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import { bytes, text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditRecord } from '#src/gen/sallyport/v1/audit_pb.js';
import type { AuditLog, EventFilter, EventPosition, EventTally, StoredEvent, Verdict } from '#src/ports/audit.ts';
import type { Clock } from '#src/ports/runtime.ts';
import { CentralChains } from './central-chains.ts';
import type { TrailDatabase } from './database.ts';
import { type Stretch, searchOf } from './event-search.ts';
import { exportCentral } from './export-central.ts';
import { Turns } from './turns.ts';
import { verifyCentral } from './verify-central.ts';

export interface CentralAuditLogOptions {
  readonly database: Pick<TrailDatabase, 'ask' | 'read'>;
  readonly keys: Pick<CentralSubjectKeys, 'findByRefs' | 'refsOf'>;
  /** Says how the local buffer is doing. */
  readonly local: Pick<AuditLog, 'status'>;
  readonly clock: Clock;
  /** Longest time of one search, or of one page of a verification or an export; 3 s if absent. */
  readonly timeoutMs?: DurationMs;
  /** How often followers have the database asked for news; 500 ms if absent. */
  readonly pollMs?: DurationMs;
}

type Positioned = StoredEvent & { readonly position: EventPosition };

interface FoundRow {
  readonly position: number;
  readonly record: AuditRecord;
  readonly place: { readonly chainId: string; readonly sequence: number; readonly hash: Uint8Array };
}

const TIMEOUT_MS = 3_000;
const MAX_WAITING = 64;
const POLL_MS = 500;

/**
 * The trail of all sidecars, for reading; its positions are the same on every sidecar. Who follows it sees nothing twice
 * and misses nothing, though many write at once: rows are given out in order of position only up to where no transaction
 * under way can still add one. Rejects with Fault(unavailable) while the database is away.
 */
export class CentralAuditLog implements Omit<AuditLog, 'append'> {
  readonly #options: CentralAuditLogOptions;
  readonly #chains: CentralChains;
  /** Operators take one connection at most, so that they never stand in the way of everybody else. */
  readonly #turns = new Turns(MAX_WAITING);
  readonly #listeners = new Set<(written: readonly EventTally[]) => void>();
  readonly #verifying = new Map<string, Promise<Verdict>>();
  #stable = 0;
  /** What listeners were told of. */
  #told = 0;
  #polling = false;

  constructor(options: CentralAuditLogOptions) {
    this.#options = options;
    this.#chains = new CentralChains({ read: (sql, ...params) => this.#read(sql, ...params) });
  }

  async query(filter: EventFilter, limit: number, before?: EventPosition): Promise<readonly Positioned[]> {
    return await this.#search(filter, { order: 'DESC', limit, ...(before !== undefined && { to: before - 1 }) });
  }

  async after(filter: EventFilter, position: EventPosition, limit: number): Promise<readonly Positioned[]> {
    const to = await this.head();
    return to <= position ? [] : await this.#search(filter, { order: 'ASC', limit, after: position, to });
  }

  /** The position up to which nothing is added any more. It never goes back. */
  async head(): Promise<EventPosition> {
    const { database, timeoutMs = TIMEOUT_MS } = this.#options;
    const [row] = await database.ask(timeoutMs, 'SELECT audit_horizon() AS horizon');
    if (row) this.#stable = Math.max(this.#stable, whole(row, 'horizon'));
    return this.#stable;
  }

  /** Calls back when there is something new of any sidecar, without saying what. */
  onAppend(listener: (written: readonly EventTally[]) => void): () => void {
    this.#listeners.add(listener);
    if (!this.#polling) this.#pollLater();
    return () => this.#listeners.delete(listener);
  }

  /** '' for all chains. Who asks for what is being verified gets that verdict. */
  async verify(chainId: string): Promise<Verdict> {
    const under = this.#verifying.get(chainId);
    if (under) return await under;
    const verifying = verifyCentral(this.#chains, { chainId })
      .then(({ verdict }) => verdict)
      .finally(() => this.#verifying.delete(chainId));
    this.#verifying.set(chainId, verifying);
    return await verifying;
  }

  async exportPage(range: Parameters<AuditLog['exportPage']>[0], cursor: string) {
    return await exportCentral(this.#chains, range, cursor);
  }

  status() {
    return this.#options.local.status();
  }

  async #search(filter: EventFilter, stretch: Stretch): Promise<readonly Positioned[]> {
    const { realm, subject } = filter;
    if (subject && !realm) throw new Fault('invalid', 'FIELD_INVALID', 'realm: is needed to look for a subject');
    const refs = realm && subject ? await this.#options.keys.refsOf(realm, subject) : [];
    const search = searchOf(filter, refs, stretch);
    if (!search) return [];
    const found = (await this.#read(search.sql, ...search.parameters)).map(foundRow);
    return await this.#opened(found);
  }

  /** With the personal fields of all who were not erased. */
  async #opened(found: readonly FoundRow[]): Promise<readonly Positioned[]> {
    const { keys } = this.#options;
    const known = await keys.findByRefs(found.map(({ record }) => record.subjectRef).filter((ref) => ref !== ''));
    const nameless = await this.#keysOfNameless(found);
    return found.map(({ record, place, position }) => {
      const key = known.get(record.subjectRef);
      const candidates = record.subjectRef === '' ? (nameless.get(record.realm) ?? []) : key ? [key] : [];
      const opened = candidates.map((candidate) => openRecord(record, candidate.key, place)).find(isOpened);
      return { ...(opened ?? openRecord(record, undefined, place)), position };
    });
  }

  /** Events of unknown persons carry no pseudonym; each key that their realm has for them is tried. */
  async #keysOfNameless(found: readonly FoundRow[]): Promise<ReadonlyMap<string, readonly SubjectKey[]>> {
    const { keys } = this.#options;
    const sealed = found.filter(({ record }) => record.subjectRef === '' && record.sealedPersonal.length > 0);
    const realms = [...new Set(sealed.map(({ record }) => record.realm))];
    const byRealm = await Promise.all(
      realms.map(async (realm) => {
        const of = await keys.findByRefs(await keys.refsOf(realm, ''));
        return [realm, [...of.values()]] as const;
      }),
    );
    return new Map(byRealm);
  }

  #read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    const { database, timeoutMs = TIMEOUT_MS } = this.#options;
    return this.#turns.take(() => database.read(timeoutMs, sql, ...params));
  }

  #pollLater(): void {
    this.#polling = true;
    this.#options.clock.schedule(this.#options.pollMs ?? POLL_MS, () => void this.#poll());
  }

  async #poll(): Promise<void> {
    if (this.#listeners.size > 0) await this.head().catch(() => this.#stable);
    // While the database is away there is no news, and the calls of the followers say so.
    const isNews = this.#stable > this.#told;
    this.#told = this.#stable;
    if (this.#listeners.size === 0) this.#polling = false;
    else this.#pollLater();
    if (isNews) for (const listener of [...this.#listeners]) listener([]);
  }
}

function isOpened({ subject, ipAddress, userAgent }: StoredEvent): boolean {
  return subject !== '' || ipAddress !== '' || userAgent !== '';
}

function foundRow(row: Row): FoundRow {
  const place = { chainId: text(row, 'chain_id'), sequence: whole(row, 'sequence'), hash: bytes(row, 'hash') };
  try {
    return { position: whole(row, 'position'), record: parseRecord(bytes(row, 'record')), place };
  } catch (cause) {
    throw new Fault(
      'data-loss',
      'INTEGRITY',
      `audit row ${place.sequence} of chain ${place.chainId} is damaged; run: sallyport audit verify --central`,
      { cause },
    );
  }
}
