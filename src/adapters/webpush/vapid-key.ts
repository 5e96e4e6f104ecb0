import { createECDH, generateKeyPairSync } from 'node:crypto';
import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { PUSH_KEY_BINDING, type PushKey, type PushKeyStore } from '#src/ports/push-key-store.ts';
import type { SecretBox } from '#src/ports/runtime.ts';

/** The key pair that push services know the fleet by (RFC 8292), as the library takes it: base64url. */
export interface VapidKey {
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: string;
  /** 32 bytes. Never logged. */
  readonly privateKey: string;
}

/**
 * The pair that all sidecars use, made by the first of them, which is told by `made`. Throws Fault(data-loss, INTEGRITY) if
 * the row was altered, Fault(unavailable) while the store is away.
 */
export async function ensureVapidKey(deps: {
  readonly store: PushKeyStore;
  readonly box: SecretBox;
  readonly now: EpochMs;
  readonly made?: (publicKey: string) => Promise<void>;
}): Promise<VapidKey> {
  const { store, box } = deps;
  const kept = (await store.read()) ?? (await make(deps));
  const scalar = box.open(kept.sealedPrivate, PUSH_KEY_BINDING);
  if (publicOf(scalar) !== kept.publicKey)
    throw new Fault('data-loss', 'INTEGRITY', 'the key for push services failed its integrity check');
  return { publicKey: kept.publicKey, privateKey: Buffer.from(scalar).toString('base64url') };
}

async function make({ store, box, now, made }: Parameters<typeof ensureVapidKey>[0]): Promise<PushKey> {
  const own = candidate(box, now);
  const kept = await store.ensure(own);
  if (kept.publicKey === own.publicKey) await made?.(own.publicKey);
  return kept;
}

function candidate(box: SecretBox, now: EpochMs): PushKey {
  const { d = '' } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const scalar = Buffer.from(d, 'base64url');
  return { publicKey: publicOf(scalar), sealedPrivate: box.seal(scalar, PUSH_KEY_BINDING), createdAt: now };
}

function publicOf(scalar: Uint8Array): string {
  const curve = createECDH('prime256v1');
  curve.setPrivateKey(scalar);
  return curve.getPublicKey().toString('base64url');
}
