import type { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import { PostgresError } from '#src/adapters/postgres/postgres-errors.ts';
import type { Row } from '#src/adapters/sql/executor.ts';
import { bytes, optionalWhole, text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { PruneNote } from './central-chains.ts';
import type { Statement, TrailDatabase } from './database.ts';
import { listPartitions, PARTED, type Partition } from './partitions.ts';
import { signPrune } from './prune-note.ts';

export interface PruneOptions {
  /** With a role that owns the tables. */
  readonly database: Pick<TrailDatabase, 'transaction'>;
  /** Signs what was pruned; the key that the sidecars of the fleet sign with. */
  readonly signer: CheckpointSigner;
  /** The beginning of a month in UTC: older events go. */
  readonly before: EpochMs;
  readonly now: EpochMs;
  /** Only says what would be done. */
  readonly isDry: boolean;
  readonly onStep?: (step: PruneStep) => void;
  readonly pause: (ms: DurationMs) => Promise<void>;
}

export type PruneStep =
  | { readonly step: 'chains'; readonly done: number }
  | { readonly step: 'waiting'; readonly partition: string };

export interface Pruned {
  readonly partitions: readonly Partition[];
  /** Chains of which the beginning went, or all. */
  readonly chains: number;
  /** Older events that stay, because in their chain they stand behind a newer one. */
  readonly kept: number;
}

/** A sidecar may hold events back for up to 30 days (`audit.max_age`); what comes later must still find its chain. */
export const YOUNGEST_MS: DurationMs = 31 * 86_400_000;
/** Scanning months of events takes its time; nobody waits behind it. */
const STATEMENT_MS = 1_800_000;
const CHAINS_PER_PAGE = 1_000;
/** Behind this lock every flush would wait. */
const DETACH_LOCK_MS = 500;
const DETACH_TURNS = 60;

/**
 * Takes out the events before a month by dropping its partitions, in one transaction: all of it is done, or nothing is.
 * Each chain keeps everything from its first newer event on, so that it stays without gaps, and a signed note says where
 * it begins now. Throws Fault(precondition) when the month is too young, the role does not own the tables, the key is not
 * that of the fleet, or a chain has a gap, which must be looked into before its traces go.
 */
export async function prune(options: PruneOptions): Promise<Pruned> {
  const { database, before, now } = options;
  if (before > now - YOUNGEST_MS)
    throw refusal('a sidecar may still hold events of the last 30 days: prune only what is older than 31 days');
  return await database.transaction(STATEMENT_MS, (run) => pruneIn(run, options));
}

async function pruneIn(run: Statement, options: PruneOptions): Promise<Pruned> {
  const { before, isDry } = options;
  await run('SELECT pg_advisory_xact_lock(1396834305, 1)');
  const all = await listPartitions(run);
  const going = all.filter(({ until }) => until !== undefined && until <= before);
  if (!isDry) {
    await requireOwner(run);
    await requireKey(run, options.signer);
    // Whoever still has events of those months waits. Reading goes on.
    const closed = [...going.map(({ name }) => name), ...PARTED.map((name) => `${name}_default`)];
    await run(`LOCK TABLE ${closed.join(', ')} IN SHARE ROW EXCLUSIVE MODE`);
  }
  const cuts = await cutsOf(run, options);
  const staying = await stayingOf(run, before, cuts);
  const ended = cuts.filter(({ sequence }) => sequence > 0);
  if (!isDry) {
    await note(run, ended, options);
    await takeOutOthers(run, ended, before);
    // From here to the end all flushes wait.
    await detach(run, going, options);
    for (const partition of going) await drop(run, partition, staying.cuts, before);
  }
  return { partitions: going, chains: ended.length, kept: staying.rows };
}

/** Where a chain is cut: everything up to this row goes; 0 when its first row stays. */
interface Cut {
  readonly chainId: string;
  readonly sequence: number;
  readonly hash: Uint8Array;
}

const CUTS = `SELECT old.chain_id, old.last, (
    SELECT sequence FROM audit_events WHERE chain_id = old.chain_id AND at >= $1 ORDER BY sequence LIMIT 1
  ) AS newer
  FROM (
    SELECT chain_id, max(sequence) AS last FROM audit_events
    WHERE at < $1 AND chain_id > $2 GROUP BY chain_id ORDER BY chain_id LIMIT ${CHAINS_PER_PAGE}
  ) AS old ORDER BY old.chain_id`;

const HASHES = `SELECT given.chain_id, given.sequence, (
    SELECT hash FROM audit_events WHERE chain_id = given.chain_id AND sequence = given.sequence LIMIT 1
  ) AS hash
  FROM json_to_recordset($1::json) AS given (chain_id text, sequence bigint)`;

async function cutsOf(run: Statement, { before, onStep }: PruneOptions): Promise<readonly Cut[]> {
  const cuts: Cut[] = [];
  for (let after = ''; ; ) {
    const rows = await run(CUTS, before, after);
    const ends = rows.map((row) => {
      const newer = optionalWhole(row, 'newer');
      return { chain_id: text(row, 'chain_id'), sequence: newer === undefined ? whole(row, 'last') : newer - 1 };
    });
    for (const row of await run(HASHES, JSON.stringify(ends))) cuts.push(cutOf(row));
    onStep?.({ step: 'chains', done: cuts.length });
    after = ends.at(-1)?.chain_id ?? after;
    if (rows.length < CHAINS_PER_PAGE) return cuts;
  }
}

function cutOf(row: Row): Cut {
  const [chainId, sequence] = [text(row, 'chain_id'), whole(row, 'sequence')];
  if (sequence === 0) return { chainId, sequence, hash: new Uint8Array() };
  if (row['hash'] === null)
    throw refusal(
      `row ${sequence} of chain ${chainId} is missing; look into it first: sallyport audit verify --central`,
    );
  return { chainId, sequence, hash: bytes(row, 'hash') };
}

function asJson(cuts: readonly Cut[]): string {
  return JSON.stringify(cuts.map(({ chainId, sequence }) => ({ chain_id: chainId, sequence })));
}

/** Rows that are old enough and stay. */
const KEPT = `FROM json_to_recordset($1::json) AS cut (chain_id text, sequence bigint)
  JOIN audit_events AS event ON event.chain_id = cut.chain_id AND event.sequence > cut.sequence AND event.at < $2`;

/** The chains that have such rows, and how many they are. */
async function stayingOf(run: Statement, before: EpochMs, cuts: readonly Cut[]) {
  const found = await run(
    `SELECT event.chain_id, count(*) AS rows ${KEPT} GROUP BY event.chain_id`,
    asJson(cuts),
    before,
  );
  const byChain = new Map(found.map((row) => [text(row, 'chain_id'), whole(row, 'rows')]));
  return {
    cuts: cuts.filter(({ chainId }) => byChain.has(chainId)),
    rows: [...byChain.values()].reduce((sum, rows) => sum + rows, 0),
  };
}

async function note(run: Statement, cuts: readonly Cut[], { signer, now }: PruneOptions): Promise<void> {
  for (let from = 0; from < cuts.length; from += CHAINS_PER_PAGE) {
    const notes = cuts
      .slice(from, from + CHAINS_PER_PAGE)
      .map(({ chainId, sequence, hash }) => signPrune(signer, { chainId, sequence, headHash: hash, prunedAt: now }));
    await run(
      `INSERT INTO audit_prunes (chain_id, sequence, head_hash, pruned_at, key_id, signature)
       SELECT chain_id, sequence, decode(head_hash, 'hex'), pruned_at, key_id, decode(signature, 'hex')
       FROM json_to_recordset($1::json)
         AS given (chain_id text, sequence bigint, head_hash text, pruned_at bigint, key_id text, signature text)
       ON CONFLICT DO NOTHING`,
      JSON.stringify(notes.map(noteAsJson)),
    );
  }
}

function noteAsJson({ chainId, sequence, headHash, prunedAt, keyId, signature }: PruneNote) {
  const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
  return {
    chain_id: chainId,
    sequence,
    head_hash: hex(headHash),
    pruned_at: prunedAt,
    key_id: keyId,
    signature: hex(signature),
  };
}

/** Tries for short moments, so that flushes get through in between. */
async function detach(run: Statement, going: readonly Partition[], { onStep, pause }: PruneOptions): Promise<void> {
  await run(`SET LOCAL lock_timeout = ${DETACH_LOCK_MS}`);
  for (const { name, of } of going)
    for (let turn = 1; ; turn += 1) {
      await run('SAVEPOINT detaching');
      try {
        await run(`ALTER TABLE ${of} DETACH PARTITION ${name}`);
        break;
      } catch (error) {
        if (!(error instanceof PostgresError) || error.code !== '55P03' || turn === DETACH_TURNS) throw error;
        await run('ROLLBACK TO SAVEPOINT detaching');
        onStep?.({ step: 'waiting', partition: name });
        await pause(DETACH_LOCK_MS);
      }
    }
  await run(`SET LOCAL lock_timeout = ${STATEMENT_MS}`);
}

const COLUMNS = `chain_id, sequence, at, position, flushed_at, realm, type, outcome, subject_ref, challenge_id, session_id,
  factor_id, previous_hash, record, hash`;

/** What is old in the partitions of all other times. */
async function takeOutOthers(run: Statement, cuts: readonly Cut[], before: EpochMs): Promise<void> {
  await run(
    `DELETE FROM audit_events_default AS event USING json_to_recordset($1::json) AS cut (chain_id text, sequence bigint)
     WHERE event.chain_id = cut.chain_id AND event.sequence <= cut.sequence AND event.at < $2`,
    asJson(cuts),
    before,
  );
  await run('DELETE FROM audit_checkpoints_default WHERE signed_at < $1', before);
}

async function drop(run: Statement, { name, of }: Partition, staying: readonly Cut[], before: EpochMs): Promise<void> {
  // A month that is no partition any more belongs to the partition of all other times.
  if (of === 'audit_events' && staying.length > 0)
    await run(
      `INSERT INTO audit_events (${COLUMNS}) OVERRIDING SYSTEM VALUE
       SELECT ${COLUMNS.replaceAll(/\w+/g, 'event.$&')} ${KEPT.replace('audit_events', name)}`,
      asJson(staying),
      before,
    );
  await run(`DROP TABLE ${name}`);
}

async function requireOwner(run: Statement): Promise<void> {
  const [row] = await run(
    `SELECT current_user AS role, bool_and(pg_has_role(relowner, 'USAGE'))::int AS owns FROM pg_class
     WHERE oid IN (to_regclass('audit_events'), to_regclass('audit_checkpoints'), to_regclass('audit_prunes'))`,
  );
  if (row && whole(row, 'owns') === 1) return;
  throw refusal(
    `the role ${row ? text(row, 'role') : ''} does not own the tables of the trail: use the role that runs sallyport migrate`,
  );
}

async function requireKey(run: Statement, { key }: CheckpointSigner): Promise<void> {
  const keys = await run('SELECT key_id FROM audit_checkpoint_keys');
  if (keys.length === 0 || keys.some((row) => text(row, 'key_id') === key.keyId)) return;
  throw refusal('the key ring is not the one of the sidecars that wrote this trail, so nobody would trust its note');
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', why);
}
