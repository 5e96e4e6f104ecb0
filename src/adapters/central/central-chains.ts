import type { Row } from '#src/adapters/sql/executor.ts';
import { bytes, optionalWhole, text, whole } from '#src/adapters/sql/row.ts';
import type { ChainHeader, ChainRow, Checkpoint, CheckpointKey } from '#src/ports/audit.ts';
import type { Statement } from './database.ts';
import type { RecordColumns } from './record-columns.ts';

/** The end of what was taken out of a chain on purpose. */
export interface PruneNote {
  readonly chainId: string;
  readonly sequence: number;
  readonly headHash: Uint8Array;
  readonly prunedAt: number;
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export interface CentralChain {
  readonly chainId: string;
  /** Absent where rows or checkpoints have no chain: somebody took it away. */
  readonly header?: ChainHeader;
  readonly pruned?: PruneNote;
  /** The last row, and the last row that a checkpoint signs, as they were at one moment; 0 for none. */
  readonly last: number;
  readonly signed: number;
}

/** A row as stored, with the columns that must agree with its record. */
export interface CentralRow {
  readonly row: ChainRow;
  readonly at: number;
  readonly columns: RecordColumns;
}

/** Where a page of rows begins: behind this row. Two rows of one number differ in their time. */
export interface RowPlace {
  readonly sequence: number;
  readonly at: number;
}

export interface RowPage {
  readonly rows: readonly CentralRow[];
  readonly more: boolean;
}

const CHAINS_PER_PAGE = 200;
const ROWS_PER_PAGE = 500;
const CHECKPOINTS_PER_PAGE = 1_000;

/** Names of all chains behind $1, in order: one step down each index for each chain, however many rows it has. */
const CHAIN_IDS = `WITH RECURSIVE named (chain_id) AS (
  SELECT least(
    (SELECT min(chain_id) FROM audit_chains WHERE chain_id > $1),
    (SELECT chain_id FROM audit_events WHERE chain_id > $1 ORDER BY chain_id LIMIT 1),
    (SELECT chain_id FROM audit_checkpoints WHERE chain_id > $1 ORDER BY chain_id LIMIT 1)
  )
  UNION ALL
  SELECT least(
    (SELECT min(chain_id) FROM audit_chains WHERE chain_id > named.chain_id),
    (SELECT chain_id FROM audit_events WHERE chain_id > named.chain_id ORDER BY chain_id LIMIT 1),
    (SELECT chain_id FROM audit_checkpoints WHERE chain_id > named.chain_id ORDER BY chain_id LIMIT 1)
  ) FROM named WHERE chain_id IS NOT NULL
) SELECT chain_id FROM named WHERE chain_id IS NOT NULL LIMIT $2`;

const CHAIN = `SELECT
  (SELECT row_to_json(header) FROM (SELECT parent_chain_id AS parent, encode(parent_head_hash, 'hex') AS head,
    begin_reason AS reason FROM audit_chains WHERE chain_id = $1) AS header)::text AS header,
  (SELECT row_to_json(note) FROM (SELECT sequence, encode(head_hash, 'hex') AS head, pruned_at, key_id,
    encode(signature, 'hex') AS signature FROM audit_prunes WHERE chain_id = $1 ORDER BY sequence DESC LIMIT 1) AS note
  )::text AS pruned,
  coalesce((SELECT sequence FROM audit_events WHERE chain_id = $1 ORDER BY sequence DESC LIMIT 1), 0) AS last,
  coalesce((SELECT sequence FROM audit_checkpoints WHERE chain_id = $1 ORDER BY sequence DESC LIMIT 1), 0) AS signed`;

const ROWS = `SELECT sequence, at, realm, type, outcome, subject_ref, challenge_id, session_id, factor_id, previous_hash,
  record, hash
  FROM audit_events WHERE chain_id = $1 AND (sequence, at) > ($2, $3) AND sequence <= $4
  ORDER BY sequence, at LIMIT $5`;

const CHECKPOINT = 'sequence, key_id, signed_at, head_hash, signature';

export interface CentralChainsOptions {
  readonly read: Statement;
}

/** Reads the chains of all sidecars in order, in pages, so that neither memory nor the database is taken up by a long trail. */
export class CentralChains {
  readonly #read: Statement;

  constructor(options: CentralChainsOptions) {
    this.#read = options.read;
  }

  async keys(): Promise<readonly CheckpointKey[]> {
    const rows = await this.#read('SELECT key_id, public_key FROM audit_checkpoint_keys ORDER BY key_id');
    return rows.map((row) => ({ keyId: text(row, 'key_id'), publicKey: bytes(row, 'public_key') }));
  }

  /** About how many rows there are, as the database last counted them. */
  async estimate(): Promise<number> {
    const [row] = await this.#read(
      `SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint AS total FROM pg_class
       WHERE oid IN (SELECT relid FROM pg_partition_tree('audit_events') WHERE isleaf)`,
    );
    return row ? whole(row, 'total') : 0;
  }

  /** A page of names, in order; `more` when there may be further ones. */
  async idsAfter(
    chainId: string,
    limit = CHAINS_PER_PAGE,
  ): Promise<{ readonly ids: readonly string[]; readonly more: boolean }> {
    const rows = await this.#read(CHAIN_IDS, chainId, limit);
    return { ids: rows.map((row) => text(row, 'chain_id')), more: rows.length === limit };
  }

  async chain(chainId: string): Promise<CentralChain> {
    const [row] = await this.#read(CHAIN, chainId);
    if (!row) throw new Error('the database answers nothing');
    const header = row['header'] === null ? undefined : headerOf(chainId, text(row, 'header'));
    const pruned = row['pruned'] === null ? undefined : noteOf(chainId, text(row, 'pruned'));
    return {
      chainId,
      ...(header && { header }),
      ...(pruned && { pruned }),
      last: whole(row, 'last'),
      signed: whole(row, 'signed'),
    };
  }

  /** Rows behind a place, up to a number; all of them when `more` is false. */
  async rows(chainId: string, after: RowPlace, to: number): Promise<RowPage> {
    // Rows are numbered without gaps, so a bounded stretch of numbers is a page, whatever the planner thinks of the table.
    const end = Math.min(to, after.sequence + ROWS_PER_PAGE);
    const found = await this.#read(ROWS, chainId, after.sequence, after.at, end, ROWS_PER_PAGE);
    if (found.length > 0 || end === to) {
      const rows = found.map((row) => rowOf(chainId, row));
      return { rows, more: end < to || rows.length === ROWS_PER_PAGE };
    }
    const [next] = await this.#read(
      'SELECT min(sequence) AS next FROM audit_events WHERE chain_id = $1 AND sequence > $2 AND sequence <= $3',
      chainId,
      end,
      to,
    );
    const sequence = next && optionalWhole(next, 'next');
    if (sequence === undefined) return { rows: [], more: false };
    return await this.rows(chainId, { sequence: sequence - 1, at: Number.MAX_SAFE_INTEGER }, to);
  }

  /** Checkpoints of rows from one number to another. */
  async checkpoints(chainId: string, from: number, to: number): Promise<readonly Checkpoint[]> {
    const found: Checkpoint[] = [];
    let [sequence, keyId, signedAt] = [from - 1, '\u{10ffff}', 0];
    for (;;) {
      const rows = await this.#read(
        `SELECT ${CHECKPOINT} FROM audit_checkpoints
         WHERE chain_id = $1 AND (sequence, key_id, signed_at) > ($2, $3, $4) AND sequence <= $5
         ORDER BY sequence, key_id, signed_at LIMIT ${CHECKPOINTS_PER_PAGE}`,
        chainId,
        sequence,
        keyId,
        signedAt,
        to,
      );
      found.push(...rows.map((row) => checkpointOf(chainId, row)));
      const last = found.at(-1);
      if (!last || rows.length < CHECKPOINTS_PER_PAGE) return found;
      ({ sequence, keyId, signedAt } = last);
    }
  }

  async newestCheckpoint(chainId: string, upTo: number): Promise<Checkpoint | undefined> {
    const [row] = await this.#read(
      `SELECT ${CHECKPOINT} FROM audit_checkpoints WHERE chain_id = $1 AND sequence <= $2 ORDER BY sequence DESC LIMIT 1`,
      chainId,
      upTo,
    );
    return row && checkpointOf(chainId, row);
  }

  /** What central storage knows of a row by its hash: `unknown` when nothing of that chain is there, or its beginning was pruned. */
  async holds(chainId: string, hash: Uint8Array): Promise<'yes' | 'no' | 'unknown'> {
    const { pruned, last } = await this.chain(chainId);
    if (last === 0 && !pruned) return 'unknown';
    const [row] = await this.#read(
      `SELECT (SELECT hash = $2 FROM audit_events WHERE chain_id = $1 ORDER BY sequence DESC LIMIT 1)::int AS is_last`,
      chainId,
      hash,
    );
    if (row?.['is_last'] === 1) return 'yes';
    // The sidecar may have gone back to a row before the last one that it had flushed.
    const found = await this.#read(
      'SELECT 1 FROM audit_events WHERE chain_id = $1 AND hash = $2 LIMIT 1',
      chainId,
      hash,
    );
    return found.length > 0 ? 'yes' : pruned ? 'unknown' : 'no';
  }

  /** A row that links to this hash under another number than `not`. */
  async successor(chainId: string, previousHash: Uint8Array, not: number): Promise<ChainRow | undefined> {
    const [row] = await this.#read(
      `SELECT sequence, previous_hash, record, hash FROM audit_events
       WHERE chain_id = $1 AND previous_hash = $2 AND sequence <> $3 LIMIT 1`,
      chainId,
      previousHash,
      not,
    );
    return row && chainRow(chainId, row);
  }

  /** The first row up to this number; 0 for none. */
  async firstUpTo(chainId: string, sequence: number): Promise<number> {
    const [row] = await this.#read(
      'SELECT sequence FROM audit_events WHERE chain_id = $1 AND sequence <= $2 ORDER BY sequence LIMIT 1',
      chainId,
      sequence,
    );
    return row ? whole(row, 'sequence') : 0;
  }

  /** What is wrong with the tables themselves: something that hides rows or changes them. Undefined when nothing is. */
  async layoutFault(): Promise<string | undefined> {
    const [row] = await this.#read(LAYOUT_FAULT);
    return row && text(row, 'fault');
  }
}

/** A view, a rule, a trigger or a row policy in the way of the trail's tables or of one of their partitions. */
const LAYOUT_FAULT = `WITH ours AS (
  SELECT oid, relname, relkind, relrowsecurity FROM pg_class
  WHERE oid IN (
    SELECT to_regclass(name) FROM unnest('{audit_chains,audit_checkpoint_keys,audit_prunes}'::text[]) AS name
    UNION ALL SELECT relid FROM pg_partition_tree(to_regclass('audit_events'))
    UNION ALL SELECT relid FROM pg_partition_tree(to_regclass('audit_checkpoints'))
  )
)
SELECT what || ' of ' || relname || ' was altered or added' AS fault FROM (
  SELECT relname, 'the definition' AS what FROM ours WHERE relkind NOT IN ('r', 'p')
  UNION ALL SELECT relname, 'a row policy' FROM ours WHERE relrowsecurity
  UNION ALL SELECT relname, 'a trigger' FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE NOT tgisinternal
  UNION ALL SELECT relname, 'a rule' FROM ours JOIN pg_rewrite ON ev_class = ours.oid
) AS found ORDER BY relname, what LIMIT 1`;

function headerOf(chainId: string, json: string): ChainHeader {
  const { parent, head, reason } = JSON.parse(json) as { parent: string; head: string; reason: string };
  return { chainId, parentChainId: parent, parentHeadHash: Buffer.from(head, 'hex'), beginReason: reason };
}

function noteOf(chainId: string, json: string): PruneNote {
  const note = JSON.parse(json) as Record<'sequence' | 'pruned_at', number> &
    Record<'head' | 'key_id' | 'signature', string>;
  return {
    chainId,
    sequence: note.sequence,
    headHash: Buffer.from(note.head, 'hex'),
    prunedAt: note.pruned_at,
    keyId: note.key_id,
    signature: Buffer.from(note.signature, 'hex'),
  };
}

function chainRow(chainId: string, row: Row): ChainRow {
  return {
    chainId,
    sequence: whole(row, 'sequence'),
    previousHash: bytes(row, 'previous_hash'),
    record: bytes(row, 'record'),
    hash: bytes(row, 'hash'),
  };
}

function rowOf(chainId: string, row: Row): CentralRow {
  const at = whole(row, 'at');
  return {
    row: chainRow(chainId, row),
    at,
    columns: {
      at,
      realm: text(row, 'realm'),
      type: text(row, 'type'),
      outcome: whole(row, 'outcome'),
      subjectRef: text(row, 'subject_ref'),
      challengeId: text(row, 'challenge_id'),
      sessionId: text(row, 'session_id'),
      factorId: text(row, 'factor_id'),
    },
  };
}

function checkpointOf(chainId: string, row: Row): Checkpoint {
  return {
    chainId,
    sequence: whole(row, 'sequence'),
    headHash: bytes(row, 'head_hash'),
    signedAt: whole(row, 'signed_at'),
    keyId: text(row, 'key_id'),
    signature: bytes(row, 'signature'),
  };
}
