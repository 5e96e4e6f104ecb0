import type { EpochMs } from '../domain/time.ts';

/** The key pair that push services know the whole fleet by (VAPID, RFC 8292). The private part is sealed. */
export interface PushKey {
  /** Uncompressed P-256 point, base64url: browsers subscribe with it. */
  readonly publicKey: string;
  /** Sealed by SecretBox, bound by `PUSH_KEY_BINDING`. */
  readonly sealedPrivate: Uint8Array;
  readonly createdAt: EpochMs;
}

export const PUSH_KEY_BINDING = { purpose: 'push.key', realm: '', subject: '', id: 'vapid' } as const;

export interface PushKeyStore {
  /** Stores `candidate` if there is no key yet; answers the one that all sidecars use either way. It is never replaced. */
  ensure(candidate: PushKey): Promise<PushKey>;
  /** Undefined while there is none. */
  read(): Promise<PushKey | undefined>;
}
