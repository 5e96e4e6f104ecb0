import { type DurationMs, SECOND } from '../../domain/time.ts';

export interface AddressLimiterOptions {
  /** Requests at once after a rest. */
  readonly burst: number;
  readonly perSecond: number;
  /** Addresses that are remembered; the one that was quiet longest is forgotten first. */
  readonly maxAddresses: number;
  /** Milliseconds that never go back. */
  readonly monotonic: () => number;
}

interface Bucket {
  tokens: number;
  at: number;
}

/** A token bucket per address, in bounded memory. */
export class AddressLimiter {
  readonly #options: AddressLimiterOptions;
  /** In the order of last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: AddressLimiterOptions) {
    this.#options = options;
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one request into account. Answers how long to wait before the next, 0 if this one may go on. */
  take(address: string): DurationMs {
    const { burst, perSecond, maxAddresses } = this.#options;
    const now = this.#options.monotonic();
    const known = this.#buckets.get(address);
    const bucket = known ?? { tokens: burst, at: now };
    this.#buckets.delete(address);
    if (known === undefined && this.#buckets.size >= maxAddresses) this.#forgetOldest();
    this.#buckets.set(address, bucket);
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / SECOND) * perSecond);
    bucket.at = now;
    if (bucket.tokens < 1) return ((1 - bucket.tokens) / perSecond) * SECOND;
    bucket.tokens -= 1;
    return 0;
  }

  #forgetOldest(): void {
    for (const oldest of this.#buckets.keys()) {
      this.#buckets.delete(oldest);
      return;
    }
  }
}
