import type { SubjectKey, SubjectKeys } from '#src/adapters/audit/contract.ts';
import type { Row } from '#src/adapters/sql/executor.ts';
import { bytes, text } from '#src/adapters/sql/row.ts';
import { base32 } from '#src/domain/ids.ts';
import type { Random, SecretBox } from '#src/ports/runtime.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';

export interface SubjectKeysOptions {
  readonly transaction: SqliteTransaction;
  /** Seals the data keys, with purpose `subject.key`. */
  readonly secrets: SecretBox;
  readonly random: Random;
  /** How many opened keys are held in memory. */
  readonly maxCached: number;
}

/**
 * Pseudonyms and data keys of persons, in the state database. A key made in a unit is part of it: whoever runs units
 * says how they end through `keepUnit`, `dropUnit`, `committed` and `rolledBack`.
 */
export class SqliteSubjectKeys implements SubjectKeys {
  readonly #options: SubjectKeysOptions;
  /** In order of use, the oldest first. */
  readonly #opened = new Map<string, SubjectKey>();
  readonly #refs = new Map<string, SubjectKey>();
  readonly #unit: SubjectKey[] = [];
  readonly #batch: SubjectKey[] = [];

  constructor(options: SubjectKeysOptions) {
    this.#options = options;
  }

  of(realm: string, subject: string): SubjectKey & { readonly isNew: boolean } {
    const known = this.find(realm, subject);
    if (known) return { ...known, isNew: this.#unit.includes(known) || this.#batch.includes(known) };
    const { random } = this.#options;
    const key = { realm, subject, ref: base32(random.bytes(16)), key: random.bytes(32) };
    this.#insert(key);
    this.#unit.push(key);
    this.#remember(key);
    return { ...key, isNew: true };
  }

  find(realm: string, subject: string): SubjectKey | undefined {
    const known = this.#opened.get(nameOf(realm, subject));
    if (known) {
      this.#remember(known);
      return known;
    }
    const [row] = this.#options.transaction.all(
      'SELECT * FROM subjects WHERE realm = $1 AND subject = $2',
      realm,
      subject,
    );
    return row && this.#open(row);
  }

  findByRef(ref: string): SubjectKey | undefined {
    const known = this.#refs.get(ref);
    if (known) return known;
    const [row] = this.#options.transaction.all('SELECT * FROM subjects WHERE ref = $1', ref);
    return row && this.#open(row);
  }

  restore(key: SubjectKey): void {
    const { transaction } = this.#options;
    // A file that was put back to an earlier time may still have the key of somebody who was erased since.
    if (transaction.all('SELECT 1 FROM erasures WHERE subject_ref = $1', key.ref).length > 0) return;
    if (!this.find(key.realm, key.subject)) this.#insert(key);
  }

  /** Destroys the person's key, as part of the unit; answers the pseudonym that it belonged to, if there was one. */
  destroy(realm: string, subject: string): readonly string[] {
    const { transaction } = this.#options;
    const known = this.#opened.get(nameOf(realm, subject));
    const rows = transaction.all('SELECT ref FROM subjects WHERE realm = $1 AND subject = $2', realm, subject);
    transaction.run('DELETE FROM subjects WHERE realm = $1 AND subject = $2', realm, subject);
    if (known) this.#forget(known);
    return [...new Set([...rows.map((row) => text(row, 'ref')), ...(known ? [known.ref] : [])])];
  }

  /** The same for pseudonyms. */
  destroyRefs(refs: readonly string[]): void {
    for (const ref of refs) {
      const known = this.#refs.get(ref);
      if (known) this.#forget(known);
      this.#options.transaction.run('DELETE FROM subjects WHERE ref = $1', ref);
    }
  }

  /** All there are, page by page; without their keys. */
  named(after: string, limit: number): readonly Pick<SubjectKey, 'realm' | 'subject' | 'ref'>[] {
    const sql = 'SELECT realm, subject, ref FROM subjects WHERE ref > $1 ORDER BY ref LIMIT $2';
    return this.#options.transaction
      .all(sql, after, limit)
      .map((row) => ({ realm: text(row, 'realm'), subject: text(row, 'subject'), ref: text(row, 'ref') }));
  }

  keepUnit(): void {
    this.#batch.push(...this.#unit.splice(0));
  }

  dropUnit(): void {
    for (const key of this.#unit.splice(0)) this.#forget(key);
  }

  committed(): void {
    this.#batch.length = 0;
  }

  rolledBack(): void {
    this.dropUnit();
    for (const key of this.#batch.splice(0)) this.#forget(key);
  }

  #insert(key: SubjectKey): void {
    const sealed = this.#options.secrets.seal(key.key, bindingOf(key));
    this.#options.transaction.run(
      'INSERT INTO subjects (realm, subject, ref, sealed_key) VALUES ($1, $2, $3, $4)',
      key.realm,
      key.subject,
      key.ref,
      sealed,
    );
  }

  #open(row: Row): SubjectKey {
    const named = { realm: text(row, 'realm'), subject: text(row, 'subject'), ref: text(row, 'ref') };
    const key = { ...named, key: this.#options.secrets.open(bytes(row, 'sealed_key'), bindingOf(named)) };
    this.#remember(key);
    return key;
  }

  #remember(key: SubjectKey): void {
    const name = nameOf(key.realm, key.subject);
    this.#opened.delete(name);
    this.#opened.set(name, key);
    this.#refs.set(key.ref, key);
    if (this.#opened.size <= this.#options.maxCached) return;
    const [oldest] = this.#opened.values();
    // A key of the open batch is not on disk yet, but it is the newest in use and thus never the oldest of many.
    if (oldest) this.#forget(oldest);
  }

  #forget(key: SubjectKey): void {
    this.#opened.delete(nameOf(key.realm, key.subject));
    this.#refs.delete(key.ref);
  }
}

function nameOf(realm: string, subject: string): string {
  return `${realm}\n${subject}`;
}

function bindingOf({ realm, subject, ref }: Pick<SubjectKey, 'realm' | 'subject' | 'ref'>) {
  return { purpose: 'subject.key', realm, subject, id: ref };
}
