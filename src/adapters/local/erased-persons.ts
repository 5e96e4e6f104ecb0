import type { FlushedFile } from '#src/adapters/audit/contract.ts';
import { text } from '#src/adapters/sql/row.ts';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import type { KeyedDigest } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { BacklogKeys } from './backlog-keys.ts';
import type { ProvidedKeys } from './provided-keys.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';
import type { SqliteSubjectKeys } from './subject-keys.ts';

export interface ErasedPersonsOptions {
  readonly audit: Pick<FlushedFile, 'stashedKeys' | 'forgetKeys' | 'noteFlushed' | 'scrub'>;
  readonly keys: Pick<ProvidedKeys, 'forget'>;
  readonly backlogKeys: Pick<BacklogKeys, 'flushed'>;
  /** Keys of the time when this directory held the state as well. */
  readonly past: SqliteSubjectKeys | undefined;
  readonly transaction: SqliteTransaction;
  readonly digest: KeyedDigest;
  readonly log: Log;
}

const MARK = 'erasures.position';
const PAGE = 512;

/** What a volume whose state is elsewhere still has of persons who were erased there: keys that wait, and older ones. */
export class ErasedPersons {
  readonly #options: ErasedPersonsOptions;
  /** The logs of the files may still hold what was deleted; at start nobody knows. */
  #unscrubbed = true;

  constructor(options: ErasedPersonsOptions) {
    this.#options = options;
  }

  /** Position in the log of erasures up to which all is done. */
  get through(): number {
    const [row] = this.#options.transaction.all('SELECT value FROM marks WHERE name = $1', MARK);
    return row ? Number(text(row, 'value')) : 0;
  }

  /** To be called once all is done that comes of it, elsewhere too. Durable when it returns. */
  forgotThrough(position: number): void {
    this.#write((transaction) =>
      transaction.run(
        'INSERT INTO marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
        MARK,
        String(position),
      ),
    );
  }

  /** Pseudonyms and marks. Answers the pseudonyms that the marks led to. Durable when it returns. */
  forget(erased: readonly string[]): readonly string[] {
    const { audit, keys, backlogKeys, past } = this.#options;
    const found = this.#marked(new Set(erased));
    const refs = [...new Set([...erased, ...found])];
    keys.forget(refs);
    audit.forgetKeys(refs);
    audit.noteFlushed([], refs);
    backlogKeys.flushed(refs);
    if (past) this.#write(() => past.destroyRefs(refs));
    this.#unscrubbed = true;
    this.scrub();
    return found;
  }

  /** Empties the logs of the files of what was deleted, when that is due. */
  scrub(): void {
    if (!this.#unscrubbed) return;
    const { audit, transaction, log } = this.#options;
    try {
      transaction.emptyLog();
      this.#unscrubbed = !audit.scrub();
    } catch (error) {
      log.warn('the logs of the local files could not be emptied yet', { error: String(error) });
    }
  }

  #write(work: (transaction: SqliteTransaction) => void): void {
    const { transaction } = this.#options;
    try {
      work(transaction);
      transaction.commit();
    } catch (error) {
      transaction.rollback();
      throw error;
    }
  }

  #marked(erased: ReadonlySet<string>): readonly string[] {
    const { audit, past, digest } = this.#options;
    const isMarked = ({ realm, subject }: { readonly realm: string; readonly subject: string }) =>
      erased.has(Buffer.from(digest.digest(ERASURE_MARK, markOf(realm, subject))).toString('base64url'));
    const found = audit
      .stashedKeys()
      .filter(isMarked)
      .map(({ ref }) => ref);
    for (let after = ''; past; ) {
      const page = past.named(after, PAGE);
      found.push(...page.filter(isMarked).map(({ ref }) => ref));
      after = page.at(-1)?.ref ?? '';
      if (page.length < PAGE) break;
    }
    return found;
  }
}
