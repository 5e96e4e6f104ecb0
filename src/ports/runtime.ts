import type { DurationMs, EpochMs } from '../domain/time.ts';

/** The only source of time for services. */
export interface Clock {
  /** Wall clock, by the server. */
  now(): EpochMs;
  /** Never goes back; for measuring and for time-outs. Milliseconds with fractions. */
  monotonic(): number;
  /** Calls back once after `delay`; the disposer cancels. Keeps no process alive. */
  schedule(delay: DurationMs, run: () => void): () => void;
}

/** The only source of randomness for services. */
export interface Random {
  /** `length` bytes from a CSPRNG. */
  bytes(length: number): Uint8Array;
}

/** What a sealed value belongs to; the same values must be given to open it, so rows cannot be swapped. */
export interface Binding {
  /** For instance `factor.secret`. */
  readonly purpose: string;
  readonly realm: string;
  readonly subject: string;
  /** The row. */
  readonly id: string;
}

/** Encryption at rest: AES-256-GCM under a versioned key ring, one derived key per purpose. Synchronous and quick. */
export interface SecretBox {
  seal(plain: Uint8Array, binding: Binding): Uint8Array;
  /** Throws Fault(data-loss, INTEGRITY) if the value was altered, moved to another row, or its key is gone. */
  open(sealed: Uint8Array, binding: Binding): Uint8Array;
}

/** Keyed digests (HMAC-SHA-256), one derived key per purpose, for values that must be found or compared but not read. */
export interface KeyedDigest {
  digest(purpose: string, value: string | Uint8Array): Uint8Array;
}

/** A deliberately slow hash for values with less than 112 bits. Runs off the event loop with bounded parallelism. */
export interface SlowHash {
  /** scrypt; 32 bytes. Throws Fault(limited, LIMIT_EXCEEDED) when too many are waiting. */
  hash(value: Uint8Array, salt: Uint8Array): Promise<Uint8Array>;
}
