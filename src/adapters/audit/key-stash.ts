import type { SecretBox } from '#src/ports/runtime.ts';
import type { SubjectKey } from './contract.ts';
import { ErasedRefs } from './erased-refs.ts';
import { openStashes, sealStash } from './stash.ts';
import type { PreparedStatements } from './statements.ts';

export interface KeyStashOptions {
  /** Seals the keys that wait. */
  readonly box: SecretBox;
  readonly onDamage: (detail: string) => void;
}

/** Keys of persons that wait in the file for the state database, or for central storage. */
export class KeyStash {
  readonly #options: KeyStashOptions;
  /** In the file. */
  #kept = new Set<string>();
  /** To be written with the open batch. */
  readonly #fresh = new Map<string, SubjectKey>();
  /** Position up to which those in the file may go; 0 when none. */
  #dropUpTo = 0;
  readonly #erased = new ErasedRefs();
  /** Of erased persons, in the file still. */
  readonly #doomed = new Set<string>();

  constructor(options: KeyStashOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#kept.size;
  }

  has(ref: string): boolean {
    return this.#kept.has(ref);
  }

  /** Looks at what is in the file. */
  adopt(parts: PreparedStatements): void {
    this.#kept = new Set(parts.stash.all().map(({ ref }) => ref));
  }

  all(parts: PreparedStatements): readonly SubjectKey[] {
    return openStashes(parts.stash.all(), this.#options.box, this.#options.onDamage);
  }

  find(parts: PreparedStatements, ref: string): SubjectKey | undefined {
    if (!this.#kept.has(ref)) return undefined;
    return openStashes(parts.stashOf.all(ref), this.#options.box, this.#options.onDamage)[0];
  }

  /** Whether the key has to go into the file with the events that are staged. */
  isWanted(ref: string): boolean {
    return !this.#fresh.has(ref) && !this.#kept.has(ref);
  }

  stage(keys: readonly SubjectKey[]): void {
    for (const key of keys) this.#fresh.set(key.ref, key);
  }

  /** Of the open batch nothing is to be written. */
  rollback(): void {
    this.#fresh.clear();
  }

  dropThrough(position: number): void {
    if (this.#kept.size > 0) this.#dropUpTo = position;
  }

  /** They go with the next batch, and none of them comes in any more. */
  forget(refs: readonly string[]): void {
    this.#erased.add(refs);
    for (const ref of refs) if (this.#kept.has(ref)) this.#doomed.add(ref);
  }

  /** Inside the transaction of the batch; `written` once that is committed. */
  write({ dropKeys, dropKey, insertKey }: PreparedStatements, position: number): void {
    if (this.#dropUpTo > 0) dropKeys.run(this.#dropUpTo);
    for (const ref of this.#doomed) dropKey.run(ref);
    for (const [ref, key] of this.#fresh)
      if (!this.#erased.has(ref)) insertKey.run(ref, position, sealStash(key, this.#options.box));
  }

  written(): void {
    if (this.#dropUpTo > 0) this.#kept.clear();
    this.#dropUpTo = 0;
    this.dropped([...this.#doomed]);
    for (const ref of this.#fresh.keys()) if (!this.#erased.has(ref)) this.#kept.add(ref);
  }

  /** They have left the file. */
  dropped(refs: readonly string[]): void {
    for (const ref of refs) {
      this.#doomed.delete(ref);
      this.#kept.delete(ref);
    }
  }
}
