import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import SqliteDatabase, { type Database } from 'better-sqlite3';
import type { Verdict } from '#src/ports/audit.ts';
import { type Anchor, anchorPath, readAnchor } from './anchor.ts';
import { ChainSource, isDamage, sqliteCode } from './chain-source.ts';
import { isPast } from './inspect.ts';
import { schemaFault } from './schema.ts';
import { ChainVerifier, type KnownHead, UnreadableError } from './verify.ts';

export interface VerifyFileOptions {
  /** When given, every checkpoint and the anchor must be by one of these keys. */
  readonly trustedKeyIds?: ReadonlySet<string>;
  /** Told now and then how many rows have been checked, and about how many there are. */
  readonly onProgress?: (rows: number, total: number) => void;
}

export interface FileVerdict {
  readonly verdict: Verdict;
  /** False when no anchor file lies beside: a cut tail may then go unseen. */
  readonly anchored: boolean;
  /** Rows that no signed checkpoint covers yet. */
  readonly unsigned: number;
}

const PROGRESS_ROWS = 4096;

/**
 * Verifies an audit file as it is at this moment, also while a sidecar writes it: rows, links, checkpoints, the anchor
 * beside it, and SQLite's own structures. Reads only. Throws when the file cannot be reached.
 */
export function verifyFile(path: string, options: VerifyFileOptions = {}): FileVerdict {
  const anchor = readAnchor(anchorPath(path), options.trustedKeyIds);
  return withSnapshot(path, (db) => {
    const after = readAnchor(anchorPath(path));
    const empty = { rows: 0, checkpoints: 0, chainId: '', sequence: 0 };
    const anchored = anchor !== 'absent';
    if (typeof db === 'string')
      return { verdict: { intact: false, fault: 'UNREADABLE', ...empty, detail: db }, anchored, unsigned: 0 };
    // The sidecar may have started since: an anchor that says "closed" counts only if it still does.
    const isStill = typeof anchor === 'object' && typeof after === 'object' && after.closed;
    const known = typeof anchor === 'object' ? { ...anchor, closed: anchor.closed && isStill } : undefined;
    const verdict = verifyDatabase(db, known, options);
    const unsigned = verdict.intact ? unsignedRows(db) : 0;
    if (!verdict.intact || anchor !== 'altered') return { verdict, anchored, unsigned };
    const detail = 'the anchor file was altered, or is by a key that is not trusted';
    const altered = { fault: 'SIGNATURE', chainId: '', sequence: 0, detail } as const;
    return { verdict: { ...verdict, intact: false, ...altered }, anchored, unsigned };
  });
}

function verifyDatabase(db: Database, anchor: Anchor | undefined, options: VerifyFileOptions): Verdict {
  const source = new ChainSource(db);
  const heads: KnownHead[] = [];
  if (
    anchor &&
    !(isPast(anchor, source.chains()) && !source.chains().some(({ chainId }) => chainId === anchor.chainId))
  )
    heads.push({ ...anchor, source: 'the anchor file' });
  const { trustedKeyIds, onProgress } = options;
  const verifier = new ChainVerifier({ knownHeads: heads, ...(trustedKeyIds && { trustedKeyIds }) });
  const total = onProgress ? rowCount(db) : 0;
  try {
    let count = 0;
    for (const item of source.items('', Number.MAX_SAFE_INTEGER)) {
      if (!verifier.push(item)) break;
      count += 1;
      if (count % PROGRESS_ROWS === 0) onProgress?.(verifier.rows, total);
    }
  } catch (error) {
    if (error instanceof UnreadableError) return verifier.unreadable(error.message);
    throw error;
  }
  const verdict = verifier.verdict();
  if (!verdict.intact) return verdict;
  const structure = structureFault(db);
  if (structure === undefined) return verdict;
  return { ...verdict, intact: false, fault: 'UNREADABLE', chainId: '', sequence: 0, detail: structure };
}

/** What SQLite finds wrong with pages and indexes, for instance an index that hides a row from searches. */
function structureFault(db: Database): string | undefined {
  try {
    const found = db.pragma('integrity_check(1)', { simple: true });
    return found === 'ok' ? undefined : `the file is damaged: ${String(found)}`;
  } catch (error) {
    if (isDamage(error)) return `the file is damaged: ${error.message}`;
    throw error;
  }
}

function rowCount(db: Database): number {
  return (
    db.prepare<[], { total: number }>('SELECT max(position) - min(position) + 1 AS total FROM events').get()?.total ?? 0
  );
}

function unsignedRows(db: Database): number {
  const found = db
    .prepare<[], { unsigned: number }>(
      `SELECT (SELECT max(sequence) FROM events WHERE chain = newest.chain)
        - coalesce((SELECT max(sequence) FROM checkpoints WHERE chain = newest.chain), 0) AS unsigned
      FROM (SELECT max(chain) AS chain FROM chains) AS newest`,
    )
    .get();
  return found?.unsigned ?? 0;
}

/** Runs `work` on one state of the file; with a sentence instead of a database when it is no audit file. */
export function withSnapshot<T>(path: string, work: (db: Database | string) => T): T {
  let copied: string | undefined;
  let db: Database | undefined;
  try {
    try {
      db = openReadOnly(path);
    } catch (error) {
      // A database in WAL mode needs a writable folder even to be read; on read-only media a copy is read instead.
      if (!['SQLITE_CANTOPEN', 'SQLITE_READONLY'].some((code) => sqliteCode(error).startsWith(code))) throw error;
      copied = mkdtempSync(join(tmpdir(), 'sallyport-verify-'));
      for (const suffix of ['', '-wal'])
        if (existsSync(path + suffix)) copyFileSync(path + suffix, join(copied, basename(path) + suffix));
      db = openReadOnly(join(copied, basename(path)));
    }
    const fault = schemaFault(db);
    return work(fault === undefined ? db : fault);
  } catch (error) {
    if (isDamage(error)) return work(`it is not a readable audit file: ${error.message}`);
    throw error;
  } finally {
    db?.close();
    if (copied !== undefined) rmSync(copied, { recursive: true, force: true });
  }
}

function openReadOnly(path: string): Database {
  const db = new SqliteDatabase(path, { readonly: true, fileMustExist: true, timeout: 5_000 });
  try {
    db.exec('BEGIN');
    // A transaction takes its snapshot with its first read.
    db.prepare('SELECT count(*) FROM sqlite_master').get();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
