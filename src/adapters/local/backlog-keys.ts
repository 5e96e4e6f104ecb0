import type { FlushedFile, SealedSubjectKey, SubjectKey, SubjectKeys } from '#src/adapters/audit/contract.ts';
import { parseRecord } from '#src/adapters/audit/record.ts';
import type { ChainRow } from '#src/ports/audit.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { TrailKey } from './trail-keys.ts';

export interface BacklogKeysOptions {
  readonly audit: Pick<FlushedFile, 'keysWaiting' | 'stashedKey'>;
  /** Keys of the time when this directory held the state as well; undefined where it never did. */
  readonly past: Pick<SubjectKeys, 'find' | 'findByRef'> | undefined;
  readonly secrets: SecretBox;
}

/** Finds the keys that have to go to central storage before the rows that are sealed under them. */
export class BacklogKeys {
  readonly #options: BacklogKeysOptions;
  /** Of unknown people, whose events carry no pseudonym: they go with whatever goes first. */
  readonly #unnamed = new Set<string>();

  constructor(options: BacklogKeysOptions) {
    this.#options = options;
  }

  /** Keys that events are sealed under from now on, or since before this start. */
  note(keys: readonly (SubjectKey & Partial<Pick<TrailKey, 'provisional'>>)[]): void {
    for (const { subject, ref, provisional } of keys)
      if (subject === '' && provisional !== false) this.#unnamed.add(ref);
  }

  flushed(refs: readonly string[]): void {
    for (const ref of refs) this.#unnamed.delete(ref);
  }

  of(rows: readonly ChainRow[]): readonly SealedSubjectKey[] {
    const { audit, past } = this.#options;
    if (audit.keysWaiting === 0 && !past) return [];
    const refs = new Set(this.#unnamed);
    const realms = new Set<string>();
    for (const row of rows) {
      const { subjectRef, sealedPersonal, realm } = parseRecord(row.record);
      if (subjectRef) refs.add(subjectRef);
      else if (sealedPersonal.length > 0) realms.add(realm);
    }
    const named = [...refs].map((ref) => audit.stashedKey(ref) ?? past?.findByRef(ref));
    const unnamed = [...realms].map((realm) => past?.find(realm, ''));
    return [...named, ...unnamed].filter((key) => key !== undefined).map((key) => this.#seal(key));
  }

  #seal({ realm, subject, ref, key }: SubjectKey): SealedSubjectKey {
    const sealed = this.#options.secrets.seal(key, { purpose: 'subject.key', realm, subject, id: ref });
    return { realm, subject, ref, sealed };
  }
}
