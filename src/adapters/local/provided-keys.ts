import type { SubjectKey, SubjectKeys } from '#src/adapters/audit/contract.ts';
import { ErasedRefs } from '#src/adapters/audit/erased-refs.ts';
import type { TrailKey } from './trail-keys.ts';

export interface ProvidedKeysOptions {
  /** How many keys are held in memory for reading. */
  readonly maxCached: number;
  /** Keys of the time when this directory held the state as well. */
  readonly past: Pick<SubjectKeys, 'find' | 'findByRef'> | undefined;
}

/** Keys of persons that come with the events, since they are made in central storage. What was seen lately can be read. */
export class ProvidedKeys implements SubjectKeys {
  readonly #options: ProvidedKeysOptions;
  /** By pseudonym, in order of use, the oldest first. */
  readonly #seen = new Map<string, SubjectKey>();
  readonly #erased = new ErasedRefs();
  #present: readonly TrailKey[] = [];

  constructor(options: ProvidedKeysOptions) {
    this.#options = options;
  }

  /** The keys of all persons of the events that are staged next. */
  use(keys: readonly TrailKey[]): void {
    this.#present = keys;
    this.show(keys);
  }

  /** What these seal can be read from now on. */
  show(keys: readonly SubjectKey[]): void {
    for (const key of keys) {
      this.#seen.delete(key.ref);
      if (!this.#erased.has(key.ref)) this.#seen.set(key.ref, key);
    }
    const excess = this.#seen.size - this.#options.maxCached;
    if (excess > 0) for (const ref of [...this.#seen.keys()].slice(0, excess)) this.#seen.delete(ref);
  }

  /** Of erased persons: what these seal cannot be read any more, whoever brings the keys. */
  forget(refs: readonly string[]): void {
    this.#erased.add(refs);
    for (const ref of refs) this.#seen.delete(ref);
  }

  of(realm: string, subject: string): SubjectKey & { readonly isNew: boolean } {
    const key = this.#present.find((one) => one.realm === realm && one.subject === subject);
    if (!key) throw new Error('an event came without the key of its person');
    return { ...key, isNew: key.provisional };
  }

  find(realm: string, subject: string): SubjectKey | undefined {
    return this.all(realm, subject)[0];
  }

  all(realm: string, subject: string): readonly SubjectKey[] {
    const seen = [...this.#seen.values()].filter((key) => key.realm === realm && key.subject === subject);
    const past = this.#options.past?.find(realm, subject);
    return past && !seen.some(({ ref }) => ref === past.ref) ? [...seen, past] : seen;
  }

  findByRef(ref: string): SubjectKey | undefined {
    return this.#seen.get(ref) ?? this.#options.past?.findByRef(ref);
  }

  /** Stashed keys stay where they are until central storage has them. */
  restore(key: SubjectKey): void {
    this.show([key]);
  }
}
