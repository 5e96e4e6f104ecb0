import type { Backlog } from '#src/adapters/audit/contract.ts';
import type { SqlValue } from '#src/adapters/sql/executor.ts';
import type { ChainRow } from '#src/ports/audit.ts';
import { recordColumns } from './record-columns.ts';

/**
 * Everything of a backlog in one statement. Structures go as JSON and the bytes of all rows as one value: that costs the
 * event loop a third of what arrays of the driver do. Rows have no ON CONFLICT: those that are there were left out, and
 * another one under the same number must never be passed over in silence.
 */
export const FLUSH = `WITH new_subject_keys AS (
  INSERT INTO subject_keys (ref, realm, subject, sealed_key, is_main)
  SELECT ref, realm, subject, decode(sealed, 'hex'), false
  FROM json_to_recordset($1::json) AS given (ref text, realm text, subject text, sealed text)
  ON CONFLICT DO NOTHING
), new_chains AS (
  INSERT INTO audit_chains (chain_id, parent_chain_id, parent_head_hash, begin_reason)
  SELECT chain_id, parent, decode(parent_head, 'hex'), reason
  FROM json_to_recordset($2::json) AS given (chain_id text, parent text, parent_head text, reason text)
  ON CONFLICT DO NOTHING
), new_keys AS (
  INSERT INTO audit_checkpoint_keys (key_id, public_key)
  SELECT key_id, decode(public_key, 'hex')
  FROM json_to_recordset($3::json) AS given (key_id text, public_key text)
  ON CONFLICT DO NOTHING
), new_checkpoints AS (
  INSERT INTO audit_checkpoints (chain_id, sequence, key_id, signed_at, head_hash, signature)
  SELECT chain_id, sequence, key_id, signed_at, decode(head_hash, 'hex'), decode(signature, 'hex')
  FROM json_to_recordset($4::json)
    AS given (chain_id text, sequence bigint, key_id text, signed_at bigint, head_hash text, signature text)
  ON CONFLICT DO NOTHING
)
INSERT INTO audit_events (chain_id, sequence, at, realm, type, outcome, subject_ref, challenge_id, session_id, factor_id,
  previous_hash, record, hash)
SELECT c, s, a, r, t, o, p, g, e, f,
  substring($6::bytea FROM x FOR x1), substring($6::bytea FROM x + x1 FOR x2), substring($6::bytea FROM x + x1 + x2 FOR x3)
FROM json_to_recordset($5::json) AS given (c text, s bigint, a bigint, r text, t text, o smallint, p text, g text, e text,
  f text, x int, x1 int, x2 int, x3 int)`;

/** The parameters of `FLUSH`; of the rows only `rows`. */
export function flushParameters(backlog: Omit<Backlog, 'rows' | 'waiting'>, rows: readonly ChainRow[]): SqlValue[] {
  const { subjectKeys, chains, keys, checkpoints } = backlog;
  const parts: Uint8Array[] = [];
  let next = 1;
  const events = rows.map(({ chainId, sequence, previousHash, record, hash }) => {
    const { at, realm, type, outcome, subjectRef, challengeId, sessionId, factorId } = recordColumns(record);
    const x = next;
    const [x1, x2, x3] = [previousHash.length, record.length, hash.length];
    next += x1 + x2 + x3;
    parts.push(previousHash, record, hash);
    const ids = { p: subjectRef, g: challengeId, e: sessionId, f: factorId };
    return { c: chainId, s: sequence, a: at, r: realm, t: type, o: outcome, ...ids, x, x1, x2, x3 };
  });
  return [
    JSON.stringify(subjectKeys.map(({ sealed, ...named }) => ({ ...named, sealed: hex(sealed) }))),
    JSON.stringify(
      chains.map(({ chainId, parentChainId, parentHeadHash, beginReason }) => ({
        chain_id: chainId,
        parent: parentChainId,
        parent_head: hex(parentHeadHash),
        reason: beginReason,
      })),
    ),
    JSON.stringify(keys.map(({ keyId, publicKey }) => ({ key_id: keyId, public_key: hex(publicKey) }))),
    JSON.stringify(
      checkpoints.map(({ chainId, sequence, keyId, signedAt, headHash, signature }) => ({
        chain_id: chainId,
        sequence,
        key_id: keyId,
        signed_at: signedAt,
        head_hash: hex(headHash),
        signature: hex(signature),
      })),
    ),
    JSON.stringify(events),
    Buffer.concat(parts),
  ];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
