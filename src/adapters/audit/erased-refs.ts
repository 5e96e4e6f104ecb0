/** Beyond it the oldest are forgotten: by then nobody has such a key in hand any more. */
const MAX_REMEMBERED = 10_000;

/** Pseudonyms of erased persons, so that what was under way with their keys does not bring them back. */
export class ErasedRefs {
  readonly #refs = new Set<string>();

  add(refs: Iterable<string>): void {
    for (const ref of refs) this.#refs.add(ref);
    const excess = this.#refs.size - MAX_REMEMBERED;
    if (excess > 0) for (const ref of [...this.#refs].slice(0, excess)) this.#refs.delete(ref);
  }

  has(ref: string): boolean {
    return this.#refs.has(ref);
  }
}
