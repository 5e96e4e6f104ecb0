import type { Backlog, FlushTarget } from '#src/adapters/audit/contract.ts';
import { sameBytes } from '#src/adapters/audit/row-hash.ts';
import type { Row } from '#src/adapters/sql/executor.ts';
import { bytes, text, whole } from '#src/adapters/sql/row.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { TrailDatabase } from './database.ts';
import { FLUSH, flushParameters } from './flush-statement.ts';

export interface PostgresFlushTargetOptions {
  /** With a role that may only add to the trail, or with that of the state. */
  readonly database: Pick<TrailDatabase, 'transaction' | 'ask'>;
  /** Longest time of one flush; 2 s if absent. */
  readonly timeoutMs?: DurationMs;
}

type Stored = Awaited<ReturnType<FlushTarget['store']>>;

const TIMEOUT_MS = 2_000;
/** Months that have their partitions in advance. */
const MONTHS_AHEAD = 2;

/** The central trail as the flush sees it. Flushes of one chain come one after the other, whoever sends them. */
export class PostgresFlushTarget implements FlushTarget {
  readonly #database: Pick<TrailDatabase, 'transaction' | 'ask'>;
  readonly #timeoutMs: DurationMs;

  constructor(options: PostgresFlushTargetOptions) {
    this.#database = options.database;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  async store(backlog: Backlog): Promise<Stored> {
    const { rows, checkpoints, subjectKeys } = backlog;
    if (rows.length + checkpoints.length + subjectKeys.length === 0) return { outcome: 'stored' };
    return await this.#database.transaction(this.#timeoutMs, async (run) => {
      const { chains, firsts, lasts } = stretchesOf(backlog);
      const known = new Known(await run('SELECT * FROM audit_admit($1, $2, $3)', chains, firsts, lasts));
      const clash =
        rows.find((row) => known.contradicts(row.chainId, row.sequence, row.hash)) ??
        checkpoints.find((one) => known.contradicts(one.chainId, one.sequence, one.headHash));
      if (clash) return { outcome: 'clash', chainId: clash.chainId, sequence: clash.sequence };
      const missing = rows.filter(({ chainId, sequence }) => !known.has(chainId, sequence));
      await run(FLUSH, ...flushParameters(backlog, missing));
      return { outcome: 'stored' };
    });
  }

  async head(chainId: string): Promise<{ readonly sequence: number; readonly hash: Uint8Array }> {
    const [row] = await this.#database.ask(this.#timeoutMs, 'SELECT sequence, hash FROM audit_head($1)', chainId);
    return row
      ? { sequence: whole(row, 'sequence'), hash: bytes(row, 'hash') }
      : { sequence: 0, hash: new Uint8Array() };
  }

  /** Makes partitions for the coming months where they are missing. Rejects as `store`; without them nothing is lost. */
  async prepare(): Promise<void> {
    await this.#database.transaction(this.#timeoutMs, (run) => run('SELECT audit_prepare($1)', MONTHS_AHEAD));
  }
}

interface Stretches {
  readonly chains: string;
  readonly firsts: string;
  readonly lasts: string;
}

/** Where the backlog belongs in its chains, as literals of arrays. Rows of a chain are without gaps; a signed head may be apart. */
function stretchesOf({ rows, checkpoints }: Backlog): Stretches {
  const stretches: { readonly chainId: string; first: number; last: number }[] = [];
  for (const { chainId, sequence } of [...rows, ...checkpoints]) {
    const known = stretches.find((one) => one.chainId === chainId && sequence >= one.first && sequence <= one.last + 1);
    if (known) known.last = Math.max(known.last, sequence);
    else stretches.push({ chainId, first: sequence, last: sequence });
  }
  return {
    chains: arrayOf(stretches.map(({ chainId }) => chainId)),
    firsts: arrayOf(stretches.map(({ first }) => first)),
    lasts: arrayOf(stretches.map(({ last }) => last)),
  };
}

function arrayOf(values: readonly (string | number)[]): string {
  return `{${values.map((value) => `"${String(value).replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`;
}

/** What central storage has already. */
class Known {
  readonly #hashes = new Map<string, Uint8Array[]>();
  readonly #rows = new Set<string>();
  readonly #pruned = new Map<string, number>();

  constructor(found: readonly Row[]) {
    for (const row of found) {
      const [kind, chainId, sequence] = [text(row, 'kind'), text(row, 'known_chain'), whole(row, 'known_sequence')];
      const place = placeOf(chainId, sequence);
      if (kind === 'pruned') this.#pruned.set(chainId, sequence);
      else this.#hashes.set(place, [...(this.#hashes.get(place) ?? []), bytes(row, 'known_hash')]);
      if (kind === 'row') this.#rows.add(place);
    }
  }

  contradicts(chainId: string, sequence: number, hash: Uint8Array): boolean {
    return (this.#hashes.get(placeOf(chainId, sequence)) ?? []).some((known) => !sameBytes(known, hash));
  }

  /** It is there, or it was and was taken out when its time was over. */
  has(chainId: string, sequence: number): boolean {
    return this.#rows.has(placeOf(chainId, sequence)) || sequence <= (this.#pruned.get(chainId) ?? 0);
  }
}

function placeOf(chainId: string, sequence: number): string {
  return `${chainId} ${sequence}`;
}
