import type { Database } from 'better-sqlite3';
import type { AuditRecord } from '#src/gen/sallyport/v1/audit_pb.js';
import type { RecordFields } from './record-encoding.ts';

/** "Sapt", so that `file` and this program know an audit file by its header. */
export const APPLICATION_ID = 0x53617074;
export const SCHEMA_VERSION = 2;

/**
 * Rows are looked up in buckets of 256 positions. An index over random ids alone would touch a distant page for every
 * event; led by the bucket, all new entries of an index land on one or two pages, and a search takes one step per bucket.
 */
export const BUCKET_SHIFT = 8;

/** Since layout 2: how far the chain has left for central storage. */
const SINCE_2: Readonly<Record<string, string>> = {
  flushed:
    'CREATE TABLE flushed (chain INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, hash BLOB NOT NULL, anchored INTEGER NOT NULL, key_id TEXT NOT NULL, signature BLOB NOT NULL) STRICT',
};

const SINCE_1: Readonly<Record<string, string>> = {
  chains:
    'CREATE TABLE chains (chain INTEGER PRIMARY KEY, chain_id TEXT NOT NULL UNIQUE, parent_chain_id TEXT NOT NULL, parent_head_hash BLOB NOT NULL, begin_reason TEXT NOT NULL, first_position INTEGER NOT NULL) STRICT',
  events:
    'CREATE TABLE events (position INTEGER PRIMARY KEY, chain INTEGER NOT NULL, sequence INTEGER NOT NULL, at INTEGER NOT NULL, realm TEXT NOT NULL, type TEXT NOT NULL, outcome INTEGER NOT NULL, subject_tag INTEGER NOT NULL, challenge_tag INTEGER NOT NULL, session_tag INTEGER NOT NULL, previous_hash BLOB NOT NULL, record BLOB NOT NULL, hash BLOB NOT NULL) STRICT',
  checkpoints:
    'CREATE TABLE checkpoints (chain INTEGER NOT NULL, sequence INTEGER NOT NULL, key_id TEXT NOT NULL, head_hash BLOB NOT NULL, signed_at INTEGER NOT NULL, signature BLOB NOT NULL, PRIMARY KEY (chain, sequence, key_id)) STRICT, WITHOUT ROWID',
  checkpoint_keys: 'CREATE TABLE checkpoint_keys (key_id TEXT PRIMARY KEY, public_key BLOB NOT NULL) STRICT',
  stashed_keys:
    'CREATE TABLE stashed_keys (ref TEXT PRIMARY KEY, position INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT',
  events_by_type: `CREATE INDEX events_by_type ON events (position >> ${BUCKET_SHIFT}, type)`,
  events_by_at: `CREATE INDEX events_by_at ON events (position >> ${BUCKET_SHIFT}, at)`,
  events_by_subject: `CREATE INDEX events_by_subject ON events (position >> ${BUCKET_SHIFT}, subject_tag) WHERE subject_tag <> 0`,
  events_by_challenge: `CREATE INDEX events_by_challenge ON events (position >> ${BUCKET_SHIFT}, challenge_tag) WHERE challenge_tag <> 0`,
  events_by_session: `CREATE INDEX events_by_session ON events (position >> ${BUCKET_SHIFT}, session_tag) WHERE session_tag <> 0`,
};

/** Exactly what the file holds: anything more, less or other is damage. */
const SCHEMA: Readonly<Record<string, string>> = { ...SINCE_1, ...SINCE_2 };

export function layoutOf(db: Database): number {
  return Number(db.pragma('user_version', { simple: true }));
}

/** Brings a file of an older layout to the present one, in one step. */
export function upgradeSchema(db: Database): void {
  if (layoutOf(db) >= SCHEMA_VERSION) return;
  db.transaction(() => {
    for (const statement of Object.values(SINCE_2)) db.exec(statement);
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
  }).immediate();
}

export function createSchema(db: Database): void {
  db.pragma(`application_id = ${APPLICATION_ID}`);
  db.pragma(`user_version = ${SCHEMA_VERSION}`);
  for (const statement of Object.values(SCHEMA)) db.exec(statement);
}

/** What is wrong with the layout of the file, or undefined. A hidden trigger or view would be found here. */
export function schemaFault(db: Database): string | undefined {
  if (db.pragma('application_id', { simple: true }) !== APPLICATION_ID) return 'it is not an audit file';
  const schema = layoutOf(db) === 1 ? SINCE_1 : SCHEMA;
  const rows = db
    .prepare<[], { name: string; sql: string }>('SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL')
    .all();
  const extra = rows.find(({ name, sql }) => schema[name] !== sql);
  if (extra) return `the definition of ${extra.name} was altered or added`;
  const found = new Set(rows.map(({ name }) => name));
  const missing = Object.keys(schema).find((name) => !found.has(name));
  return missing === undefined ? undefined : `the definition of ${missing} is missing`;
}

/** 31 bits of FNV-1a over UTF-16 units, 0 only for ''. It narrows a search; the record decides. */
export function tagOf(text: string): number {
  if (text === '') return 0;
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  return value >>> 1 || 1;
}

/** The columns that repeat what the record says, for searching. */
export interface Columns {
  readonly at: number;
  readonly realm: string;
  readonly type: string;
  readonly outcome: number;
  readonly subjectTag: number;
  readonly challengeTag: number;
  readonly sessionTag: number;
}

export function columnsOf(record: AuditRecord | RecordFields): Columns {
  return {
    at: Number(record.occurredAtMs),
    realm: record.realm,
    type: record.type,
    outcome: record.outcome,
    subjectTag: tagOf(record.subjectRef),
    challengeTag: tagOf(record.challengeId),
    sessionTag: tagOf(record.sessionId),
  };
}
