import type { CentralSubjectKeys, SubjectKey } from '#src/adapters/audit/contract.ts';
import type { Row } from '#src/adapters/sql/executor.ts';
import { bytes, text } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import { base32 } from '#src/domain/ids.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { TrailDatabase } from './database.ts';

export interface PostgresSubjectKeysOptions {
  /** Either role finds and makes keys; looking them up by pseudonym takes that of the state. */
  readonly database: Pick<TrailDatabase, 'ask'>;
  /** Seals the keys, with purpose `subject.key`, as in the state database of a sidecar on its own. */
  readonly secrets: SecretBox;
  readonly random: Random;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Longest wait for one statement. */
  readonly timeoutMs: DurationMs;
  /** How many opened keys are held in memory, and for how long: that long the key of a person who is erased is still used. */
  readonly maxCached: number;
  readonly maxAgeMs: DurationMs;
}

const COLUMNS = 'realm, subject, ref, sealed_key';

/** Pseudonyms and keys of persons, one for the whole fleet. */
export class PostgresSubjectKeys implements CentralSubjectKeys {
  readonly #options: PostgresSubjectKeysOptions;
  /** In order of age, the oldest first. */
  readonly #opened = new Map<string, { readonly key: SubjectKey; readonly since: number }>();

  constructor(options: PostgresSubjectKeysOptions) {
    this.#options = options;
  }

  async of(realm: string, subject: string): Promise<SubjectKey> {
    const { clock, maxAgeMs } = this.#options;
    const name = `${realm}\n${subject}`;
    const known = this.#opened.get(name);
    if (known && clock.monotonic() - known.since < maxAgeMs) return known.key;
    const key = await this.#findOrMake(realm, subject);
    this.#remember(name, key);
    return key;
  }

  /** Always asks, so that nothing of an erased person is shown. */
  async findByRefs(refs: readonly string[]): Promise<ReadonlyMap<string, SubjectKey>> {
    if (refs.length === 0) return new Map();
    const rows = await this.#ask(
      `SELECT ${COLUMNS} FROM subject_keys WHERE ref IN (SELECT json_array_elements_text($1::json))`,
      JSON.stringify([...new Set(refs)]),
    );
    return new Map(rows.map((row) => [text(row, 'ref'), this.#open(row)]));
  }

  async refsOf(realm: string, subject: string): Promise<readonly string[]> {
    const rows = await this.#ask('SELECT ref FROM subject_keys WHERE realm = $1 AND subject = $2', realm, subject);
    return rows.map((row) => text(row, 'ref'));
  }

  /** Forgets the opened key, when the person was erased here. */
  forget(realm: string, subject: string): void {
    this.#opened.delete(`${realm}\n${subject}`);
  }

  /** The same for persons who were erased elsewhere, by pseudonym. */
  forgetRefs(erased: ReadonlySet<string>): void {
    for (const [name, { key }] of this.#opened) if (erased.has(key.ref)) this.#opened.delete(name);
  }

  /** Destroys keys that came here after their person was erased. Takes the role of the state. */
  async destroy(refs: readonly string[]): Promise<void> {
    if (refs.length === 0) return;
    const sql = 'DELETE FROM subject_keys WHERE ref IN (SELECT json_array_elements_text($1::json))';
    await this.#ask(sql, JSON.stringify(refs));
  }

  async #findOrMake(realm: string, subject: string): Promise<SubjectKey> {
    const { random, secrets } = this.#options;
    const made = { realm, subject, ref: base32(random.bytes(16)), key: random.bytes(32) };
    const [row] = await this.#ask(
      'SELECT ref, sealed_key FROM audit_subject_key($1, $2, $3, $4)',
      realm,
      subject,
      made.ref,
      secrets.seal(made.key, bindingOf(made)),
    );
    // Each time that the database looked, the key that it had seen was erased again.
    if (!row) throw unavailable('the key of a person changes too often');
    return text(row, 'ref') === made.ref ? made : this.#open({ ...row, realm, subject });
  }

  #ask(sql: string, ...params: readonly (string | Uint8Array)[]): Promise<readonly Row[]> {
    const { database, timeoutMs } = this.#options;
    return database.ask(timeoutMs, sql, ...params);
  }

  #open(row: Row): SubjectKey {
    const named = { realm: text(row, 'realm'), subject: text(row, 'subject'), ref: text(row, 'ref') };
    return { ...named, key: this.#options.secrets.open(bytes(row, 'sealed_key'), bindingOf(named)) };
  }

  #remember(name: string, key: SubjectKey): void {
    this.#opened.delete(name);
    this.#opened.set(name, { key, since: this.#options.clock.monotonic() });
    if (this.#opened.size <= this.#options.maxCached) return;
    const [oldest] = this.#opened.keys();
    if (oldest !== undefined) this.#opened.delete(oldest);
  }
}

function unavailable(message: string): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', message, { retryAfterMs: 1_000 });
}

function bindingOf({ realm, subject, ref }: Pick<SubjectKey, 'realm' | 'subject' | 'ref'>) {
  return { purpose: 'subject.key', realm, subject, id: ref };
}
