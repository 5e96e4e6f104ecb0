import type { RequestClaim } from '#src/ports/intents.ts';

interface Remembered<T> {
  readonly fingerprint: string;
  readonly answer: Promise<T>;
}

/**
 * The latest answers by request id, so that a repeat gets the very first answer, also while that is still being made.
 * What falls out of here, or a restart, is covered by the claim in the store, which knows only accepted from refused.
 */
export class RepeatedAnswers<T> {
  readonly #answers = new Map<string, Remembered<T>>();
  readonly #max: number;

  constructor(options: { readonly max: number }) {
    this.#max = options.max;
  }

  /** Runs `work` unless the request was seen before; `reused` when it was, with another content. */
  once(claim: Pick<RequestClaim, 'key' | 'fingerprint'>, work: () => Promise<T>, reused: () => never): Promise<T> {
    const known = this.#answers.get(claim.key);
    if (known) return known.fingerprint === claim.fingerprint ? known.answer : reused();
    const answer = work();
    const entry = { fingerprint: claim.fingerprint, answer };
    this.#answers.set(claim.key, entry);
    if (this.#answers.size > this.#max) {
      for (const oldest of this.#answers.keys()) {
        this.#answers.delete(oldest);
        break;
      }
    }
    // A fault is not an answer: whoever asks again shall be looked at again.
    answer.catch(() => {
      if (this.#answers.get(claim.key) === entry) this.#answers.delete(claim.key);
    });
    return answer;
  }
}
