import { createHash } from 'node:crypto';
import type { Random } from '#src/ports/runtime.ts';

/** Bytes that look random and are the same for the same seed: SHA-256 in counter mode. */
export class SeededRandom implements Random {
  readonly #seed: string;
  #counter = 0;
  #left: Buffer = Buffer.alloc(0);

  constructor(seed = 'sallyport') {
    this.#seed = seed;
  }

  bytes(length: number): Uint8Array {
    while (this.#left.length < length) {
      const block = createHash('sha256')
        .update(`${this.#seed}:${this.#counter++}`)
        .digest();
      this.#left = Buffer.concat([this.#left, block]);
    }
    const taken = this.#left.subarray(0, length);
    this.#left = this.#left.subarray(length);
    return Uint8Array.from(taken);
  }
}
