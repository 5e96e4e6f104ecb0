import type { Database, Statement } from 'better-sqlite3';
import { EVENT_TYPES } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { AuditRecord } from '#src/gen/sallyport/v1/audit_pb.js';
import type { EventFilter, StoredEvent } from '#src/ports/audit.ts';
import type { SubjectKey, SubjectKeys } from './contract.ts';
import { openRecord, outcomeNumber, parseRecord } from './record.ts';
import { BUCKET_SHIFT, tagOf } from './schema.ts';

export type PersonalKeys = Pick<SubjectKeys, 'find' | 'findByRef' | 'all'>;
export type PositionedEvent = StoredEvent & { readonly position: number };

interface FoundRow {
  readonly position: number;
  readonly chain_id: string;
  readonly sequence: number;
  readonly record: Uint8Array;
  readonly hash: Uint8Array;
}

type Bound = Readonly<Record<string, string | number>>;

interface Search {
  readonly where: string;
  readonly index: string;
  /** The part of `where` that the index answers. */
  readonly narrow: string;
  readonly parameters: Bound;
  readonly matches: (record: AuditRecord) => boolean;
  /** Every row that the statement finds is meant. */
  readonly isExact: boolean;
}

const NOTHING: Search = { where: '0', index: '', narrow: '', parameters: {}, matches: () => false, isExact: true };
const MAX_CACHED_STATEMENTS = 64;
const SIZE = 2 ** BUCKET_SHIFT;
const BUCKETS_PER_LOOK = 4_096;

/** Searches the events of one file, bucket by bucket (schema.ts), newest or oldest first. */
export class EventReader {
  readonly #db: Database;
  readonly #keys: PersonalKeys;
  readonly #statements = new Map<string, Statement<[Bound]>>();

  constructor(db: Database, keys: PersonalKeys) {
    this.#db = db;
    this.#keys = keys;
  }

  /** Newest first, positions in [`from`, `before`). */
  newest(filter: EventFilter, limit: number, from: number, before: number): readonly PositionedEvent[] {
    return this.#search(filter, limit, from, before - 1, 'DESC');
  }

  /** Oldest first, positions in (`after`, `to`]. */
  oldest(filter: EventFilter, limit: number, after: number, to: number): readonly PositionedEvent[] {
    return this.#search(filter, limit, after + 1, to, 'ASC');
  }

  #search(filter: EventFilter, limit: number, low: number, high: number, order: 'ASC' | 'DESC'): PositionedEvent[] {
    const search = this.#plan(filter);
    const found: PositionedEvent[] = [];
    if (search === NOTHING || high < low) return found;
    const statement = this.#prepare(search, order);
    const parameters: Record<string, string | number> = { ...search.parameters, low, high };
    for (const bucket of this.#buckets(search, Math.floor(low / SIZE), Math.floor(high / SIZE), order)) {
      parameters['bucket'] = bucket;
      // A tag may match by chance, so then a bucket is read whole; it is small.
      parameters['limit'] = search.isExact ? limit - found.length : SIZE;
      for (const row of statement.all(parameters)) {
        const event = this.#open(row, search);
        if (event && found.length < limit) found.push(event);
      }
      if (found.length >= limit) break;
    }
    return found;
  }

  /** Buckets worth looking into. With an index SQLite itself skips the others, some thousands at a time. */
  *#buckets(search: Search, first: number, last: number, order: 'ASC' | 'DESC'): Generator<number, void> {
    const step = search.index === '' ? 1 : BUCKETS_PER_LOOK;
    for (let done = 0; done <= last - first; done += step) {
      const low = order === 'ASC' ? first + done : Math.max(first, last - done - step + 1);
      const high = order === 'ASC' ? Math.min(last, first + done + step - 1) : last - done;
      if (search.index === '') yield low;
      else yield* this.#occupied(search, low, high, order);
    }
  }

  #occupied(search: Search, firstBucket: number, lastBucket: number, order: 'ASC' | 'DESC'): readonly number[] {
    const sql = `WITH RECURSIVE buckets (bucket) AS
        (SELECT $firstBucket UNION ALL SELECT bucket + 1 FROM buckets WHERE bucket < $lastBucket)
      SELECT bucket FROM buckets
      WHERE EXISTS (SELECT 1 FROM events ${search.index} WHERE position >> ${BUCKET_SHIFT} = bucket AND ${search.narrow})
      ORDER BY bucket ${order}`;
    const found = this.#cached<{ bucket: number }>(sql).all({ ...search.parameters, firstBucket, lastBucket });
    return found.map(({ bucket }) => bucket);
  }

  #open(row: FoundRow, search: Search): PositionedEvent | undefined {
    const place = { chainId: row.chain_id, sequence: row.sequence, hash: row.hash };
    let record: AuditRecord;
    try {
      record = parseRecord(row.record);
    } catch (cause) {
      throw new Fault('data-loss', 'INTEGRITY', `audit row ${row.sequence} is damaged; run: sallyport audit verify`, {
        cause,
      });
    }
    if (!search.matches(record)) return undefined;
    return { ...this.#unseal(record, place), position: row.position };
  }

  #unseal(record: AuditRecord, place: Parameters<typeof openRecord>[2]): StoredEvent {
    const { subjectRef, realm, sealedPersonal } = record;
    if (sealedPersonal.length === 0) return openRecord(record, undefined, place);
    if (subjectRef) return openRecord(record, this.#keys.findByRef(subjectRef)?.key, place);
    // Nobody in particular has no pseudonym, so the right one of their keys is the one that opens.
    const opened = this.#keysOf(realm, '').map(({ key }) => openRecord(record, key, place));
    const found = opened.find(({ ipAddress, userAgent }) => ipAddress !== '' || userAgent !== '');
    return found ?? openRecord(record, undefined, place);
  }

  #keysOf(realm: string, subject: string): readonly SubjectKey[] {
    if (this.#keys.all) return this.#keys.all(realm, subject);
    const key = this.#keys.find(realm, subject);
    return key ? [key] : [];
  }

  #prepare(search: Search, order: 'ASC' | 'DESC') {
    const sql = `SELECT position, chain_id, sequence, record, hash FROM events ${search.index} JOIN chains USING (chain)
      WHERE ${search.where} AND position BETWEEN $low AND $high ORDER BY position ${order} LIMIT $limit`;
    return this.#cached<FoundRow>(sql);
  }

  #cached<Found>(sql: string) {
    const known = this.#statements.get(sql);
    const statement = known ?? this.#db.prepare<[Bound], unknown>(sql);
    if (!known && this.#statements.size >= MAX_CACHED_STATEMENTS) this.#statements.clear();
    if (!known) this.#statements.set(sql, statement);
    return statement as Statement<[Bound], Found>;
  }

  #plan(filter: EventFilter): Search {
    const where: string[] = [];
    const parameters: Record<string, string | number> = {};
    const ways: { readonly index: string; readonly clause: string }[] = [];
    const indexed = (index: string, clause: string) => {
      where.push(clause);
      ways.push({ index, clause });
    };
    const tests: ((record: AuditRecord) => boolean)[] = [];
    const tagged = (
      column: string,
      index: string,
      texts: readonly string[],
      test: (record: AuditRecord) => boolean,
    ) => {
      const names = texts.map((_, index) => `${column}${index}`);
      indexed(index, `${column} IN (${names.map((name) => `$${name}`).join(', ')}) AND ${column} <> 0`);
      for (const [index, text] of texts.entries()) parameters[`${column}${index}`] = tagOf(text);
      tests.push(test);
    };
    const { challengeId, sessionId, realm, outcome, from, until } = filter;
    if (challengeId)
      tagged('challenge_tag', 'events_by_challenge', [challengeId], (record) => record.challengeId === challengeId);
    if (sessionId) tagged('session_tag', 'events_by_session', [sessionId], (record) => record.sessionId === sessionId);
    if (filter.subject) {
      if (!realm) throw new Fault('invalid', 'FIELD_INVALID', 'realm: is needed to look for a subject');
      const refs = new Set(this.#keysOf(realm, filter.subject).map(({ ref }) => ref));
      if (refs.size === 0) return NOTHING;
      tagged('subject_tag', 'events_by_subject', [...refs], (record) => refs.has(record.subjectRef));
    }
    const types = filter.types && concreteTypes(filter.types);
    if (types?.length === 0) return NOTHING;
    if (types && types.length < EVENT_TYPES.length) {
      indexed('events_by_type', `type IN (${types.map((_, index) => `$type${index}`).join(', ')})`);
      for (const [index, type] of types.entries()) parameters[`type${index}`] = type;
    }
    if (from !== undefined || until !== undefined) {
      indexed('events_by_at', 'at >= $from AND at < $until');
      parameters['from'] = from ?? 0;
      parameters['until'] = until ?? Number.MAX_SAFE_INTEGER;
    }
    if (realm) {
      where.push('realm = $realm');
      parameters['realm'] = realm;
    }
    if (outcome) {
      where.push('outcome = $outcome');
      parameters['outcome'] = outcomeNumber(outcome);
    }
    const [best] = ways;
    // Without an index the range of positions is the way in, and the bucket has to be that range.
    where.unshift(
      best
        ? `position >> ${BUCKET_SHIFT} = $bucket`
        : `position BETWEEN $bucket * ${SIZE} AND $bucket * ${SIZE} + ${SIZE - 1}`,
    );
    return {
      where: where.join(' AND '),
      index: best ? `INDEXED BY ${best.index}` : '',
      narrow: best?.clause ?? '',
      parameters,
      matches: (record) => tests.every((test) => test(record)),
      isExact: tests.length === 0,
    };
  }
}

/** The types that exact names and `prefix*` patterns mean. */
export function concreteTypes(patterns: readonly string[]): readonly string[] | undefined {
  if (patterns.length === 0) return undefined;
  const exact = patterns.filter((pattern) => !pattern.endsWith('*'));
  const prefixes = patterns.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1));
  const known = EVENT_TYPES.filter((type) => prefixes.some((prefix) => type.startsWith(prefix)));
  return [...new Set([...exact, ...known])];
}
