import type { Backlog } from '#src/adapters/audit/contract.ts';
import type { ChainRow, Checkpoint } from '#src/ports/audit.ts';

const NO_WAITING: Backlog['waiting'] = { events: 0, bytes: 0, oldestAt: 0 };

/**
 * Cuts a backlog into pieces of about `maxBytes` of records, in order, each whole in itself: keys of persons go with the
 * first, a signed head goes with the row it signs or after it. Leaves out chains that `isStopped` names.
 */
export function* slicesOf(
  backlog: Backlog,
  maxBytes: number,
  isStopped: (chainId: string) => boolean,
): Generator<Backlog, void> {
  const rows = backlog.rows.filter(({ chainId }) => !isStopped(chainId));
  let checkpoints = backlog.checkpoints.filter(({ chainId }) => !isStopped(chainId));
  let subjectKeys = backlog.subjectKeys;
  let from = 0;
  do {
    const to = endOf(rows, from, maxBytes);
    const later = rows.slice(to);
    const isDue = ({ chainId, sequence }: Checkpoint) =>
      !later.some((row) => row.chainId === chainId && row.sequence <= sequence);
    const due = later.length === 0 ? checkpoints : checkpoints.filter(isDue);
    const part = { rows: rows.slice(from, to), checkpoints: due };
    const named = new Set([...part.rows, ...part.checkpoints].map(({ chainId }) => chainId));
    const signers = new Set(due.map(({ keyId }) => keyId));
    if (part.rows.length + due.length + subjectKeys.length > 0)
      yield {
        ...part,
        subjectKeys,
        chains: backlog.chains.filter(({ chainId }) => named.has(chainId)),
        keys: backlog.keys.filter(({ keyId }) => signers.has(keyId)),
        waiting: NO_WAITING,
      };
    checkpoints = checkpoints.filter((one) => !due.includes(one));
    subjectKeys = [];
    from = to;
  } while (from < rows.length);
}

/** At least one row, however large it is. */
function endOf(rows: readonly ChainRow[], from: number, maxBytes: number): number {
  let bytes = 0;
  for (let at = from; at < rows.length; at += 1) {
    bytes += rows[at]?.record.length ?? 0;
    if (bytes > maxBytes && at > from) return at;
  }
  return rows.length;
}
