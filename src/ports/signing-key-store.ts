import type { EventDraft } from '../domain/audit-event.ts';
import type { EpochMs } from '../domain/time.ts';

/** Key pairs that sign receipts. The private part is sealed. */
export interface SigningKey {
  readonly id: string;
  /** JWK of the public key, as JSON. */
  readonly publicJwk: string;
  /** PKCS #8, sealed. */
  readonly sealedPrivate: Uint8Array;
  readonly createdAt: EpochMs;
  readonly retiredAt?: EpochMs;
}

export interface SigningKeyStore {
  /** Stores `candidate` if there is no active key of this use yet; answers the active one either way. */
  ensure(use: 'receipt' | 'checkpoint', candidate: SigningKey, events: readonly EventDraft[]): Promise<SigningKey>;
  /** Active and retired keys, newest first. */
  list(use: 'receipt' | 'checkpoint'): Promise<readonly SigningKey[]>;
}
