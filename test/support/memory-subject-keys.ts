import type { SubjectKey, SubjectKeys } from '#src/adapters/audit/contract.ts';
import { base32 } from '#src/domain/ids.ts';
import { SeededRandom } from './random.ts';

/** Keys of persons in memory, with the state database's rule: new until the unit is committed. */
export class MemorySubjectKeys implements SubjectKeys {
  readonly #random = new SeededRandom('subject keys');
  readonly #keys = new Map<string, SubjectKey>();
  readonly #fresh = new Set<string>();

  of(realm: string, subject: string): SubjectKey & { readonly isNew: boolean } {
    const name = `${realm}\n${subject}`;
    let key = this.#keys.get(name);
    if (!key) {
      key = { realm, subject, ref: base32(this.#random.bytes(16)), key: this.#random.bytes(32) };
      this.#keys.set(name, key);
      this.#fresh.add(name);
    }
    return { ...key, isNew: this.#fresh.has(name) };
  }

  find(realm: string, subject: string): SubjectKey | undefined {
    return this.#keys.get(`${realm}\n${subject}`);
  }

  findByRef(ref: string): SubjectKey | undefined {
    return [...this.#keys.values()].find((key) => key.ref === ref);
  }

  restore(key: SubjectKey): void {
    this.#keys.set(`${key.realm}\n${key.subject}`, key);
  }

  committed(): void {
    this.#fresh.clear();
  }

  erase(realm: string, subject: string): void {
    this.#keys.delete(`${realm}\n${subject}`);
  }
}
