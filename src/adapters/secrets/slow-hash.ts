import { scrypt } from 'node:crypto';
import { Fault } from '#src/domain/faults.ts';
import type { SlowHash } from '#src/ports/runtime.ts';

const HASH_BYTES = 32;
/** 16 MiB a hash, about 40 ms of one core. */
const COST = { N: 2 ** 14, r: 8, p: 1 } as const;

export interface SlowHashOptions {
  /** How many run at once. Each takes a thread of libuv's pool (four by default), which files and DNS need as well. */
  readonly parallel: number;
  /** How many may wait; one more is refused. */
  readonly maxWaiting: number;
}

/** scrypt (RFC 7914) in libuv's thread pool. */
export class ScryptSlowHash implements SlowHash {
  readonly #options: SlowHashOptions;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: SlowHashOptions = { parallel: 2, maxWaiting: 256 }) {
    this.#options = options;
  }

  async hash(value: Uint8Array, salt: Uint8Array): Promise<Uint8Array> {
    await this.#enter();
    try {
      return await run(value, salt);
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<void> {
    if (this.#running < this.#options.parallel) {
      this.#running += 1;
      return;
    }
    if (this.#waiting.length >= this.#options.maxWaiting) {
      throw new Fault('limited', 'LIMIT_EXCEEDED', 'too many codes are being checked at once; try again shortly', {
        retryAfterMs: 1_000,
        quota: { subject: 'slow-hash', description: `${this.#options.maxWaiting} checks may wait` },
      });
    }
    // The place is handed over by the one that leaves, so `running` stays as it is.
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running -= 1;
  }
}

function run(value: Uint8Array, salt: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    scrypt(value, salt, HASH_BYTES, COST, (error, hash) => (error ? reject(error) : resolve(new Uint8Array(hash))));
  });
}
