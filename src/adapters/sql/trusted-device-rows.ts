import type { EpochMs } from '#src/domain/time.ts';
import type { DeviceRevocation, TrustedDevice } from '#src/domain/trusted-device.ts';
import type { Row, SqlValue, Tx } from './executor.ts';
import { bytes, text, whole } from './row.ts';

export function deviceOf(row: Row): TrustedDevice {
  return {
    id: text(row, 'id'),
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    tokenDigest: text(row, 'token_digest'),
    displayName: text(row, 'display_name'),
    sealedConnection: bytes(row, 'sealed_connection'),
    createdAt: whole(row, 'created_at'),
    lastUsedAt: whole(row, 'last_used_at'),
    expiresAt: whole(row, 'expires_at'),
  };
}

/** Devices of the person `$1`, `$2` that are trusted at `$3`. */
export const LIVE_DEVICE = 'realm = $1 AND subject = $2 AND revoked_at IS NULL AND expires_at > $3';

/** Most recently used first. */
export async function liveDevices(
  reader: Pick<Tx, 'all'>,
  realm: string,
  subject: string,
  now: EpochMs,
): Promise<readonly TrustedDevice[]> {
  const rows = await reader.all(
    `SELECT * FROM trusted_devices WHERE ${LIVE_DEVICE} ORDER BY last_used_at DESC, created_at DESC, id DESC`,
    realm,
    subject,
    now,
  );
  return rows.map(deviceOf);
}

/** Trusts one more device; beyond `maxDevices` the least recently used ones go. To be called alone with the person. */
export async function trustDevice(tx: Tx, device: TrustedDevice, maxDevices: number, now: EpochMs): Promise<void> {
  const { realm, subject } = device;
  const live = await liveDevices(tx, realm, subject, now);
  for (const { id } of live.slice(Math.max(0, maxDevices - 1))) {
    await revokeDevices(tx, { realm, subject, deviceId: id, reason: 'EVICTED', now });
  }
  await tx.run(
    `INSERT INTO trusted_devices (
       id, realm, subject, token_digest, display_name, sealed_connection, created_at, last_used_at, expires_at
     ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    device.id,
    realm,
    subject,
    device.tokenDigest,
    device.displayName,
    device.sealedConnection,
    device.createdAt,
    device.lastUsedAt,
    device.expiresAt,
  );
}

/** Answers how many were trusted until now; `deviceId` '' stands for all of the person's. */
export async function revokeDevices(
  tx: Tx,
  which: {
    readonly realm: string;
    readonly subject: string;
    readonly deviceId: string;
    readonly reason: DeviceRevocation;
    readonly now: EpochMs;
  },
): Promise<number> {
  const { realm, subject, deviceId, reason, now } = which;
  const one: readonly SqlValue[] = deviceId === '' ? [] : [deviceId];
  return await tx.run(
    `UPDATE trusted_devices SET revoked_at = $3, revoke_reason = $4
     WHERE ${LIVE_DEVICE} ${deviceId === '' ? '' : 'AND id = $5'}`,
    realm,
    subject,
    now,
    reason,
    ...one,
  );
}
