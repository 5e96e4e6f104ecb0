import type { EventDraft } from '#src/domain/audit-event.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { TrustedDevice } from '#src/domain/trusted-device.ts';
import type { TrustedDeviceStore, UseDevice } from '#src/ports/trusted-device-store.ts';
import { readerOf, type SqlExecutor, type Tx, UnitConflict } from './executor.ts';
import { whole } from './row.ts';
import { deviceOf, LIVE_DEVICE, liveDevices, revokeDevices, trustDevice } from './trusted-device-rows.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of devices'] as const;

type Used = Awaited<ReturnType<TrustedDeviceStore['use']>>;

export class SqlTrustedDeviceStore implements TrustedDeviceStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  trust(command: Parameters<TrustedDeviceStore['trust']>[0]): Promise<void> {
    const { device, maxDevices, now, events } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(device.realm, device.subject);
      await trustDevice(tx, device, maxDevices, now);
      tx.record(...events);
    });
  }

  use(command: UseDevice): Promise<Used> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(command.realm, command.subject);
      return (await rotate(tx, command)) ?? (await judgeRotated(tx, command)) ?? { outcome: 'unknown' };
    });
  }

  list(realm: string, subject: string, now: EpochMs): Promise<readonly TrustedDevice[]> {
    return liveDevices(readerOf(this.#sql), realm, subject, now);
  }

  rename(command: Parameters<TrustedDeviceStore['rename']>[0]): Promise<TrustedDevice | undefined> {
    const { realm, subject, deviceId, displayName, now, events } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const [row] = await tx.all(
        `UPDATE trusted_devices SET display_name = $5 WHERE ${LIVE_DEVICE} AND id = $4 RETURNING *`,
        realm,
        subject,
        now,
        deviceId,
        displayName,
      );
      if (row) tx.record(...events);
      return row && deviceOf(row);
    });
  }

  revoke(command: Parameters<TrustedDeviceStore['revoke']>[0]): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(command.realm, command.subject);
      const revoked = await revokeDevices(tx, command);
      if (revoked > 0) tx.record(...command.events);
      return revoked;
    });
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      // Tokens that were rotated out go with their device.
      return await tx.run(
        `DELETE FROM trusted_devices WHERE id IN (
           SELECT id FROM trusted_devices WHERE expires_at < $1 OR revoked_at < $1 ORDER BY expires_at LIMIT $2
         )`,
        before,
        limit,
      );
    });
  }
}

/** The token in use: the next one takes its place. */
async function rotate(tx: Tx, command: UseDevice): Promise<Used | undefined> {
  const { realm, subject, tokenDigest, nextDigest, now } = command;
  const [row] = await tx.all(
    `UPDATE trusted_devices
     SET token_digest = $5, last_used_at = CASE WHEN last_used_at < $3 THEN $3 ELSE last_used_at END
     WHERE ${LIVE_DEVICE} AND token_digest = $4 RETURNING *`,
    realm,
    subject,
    now,
    tokenDigest,
    nextDigest,
  );
  if (!row) return undefined;
  const device = deviceOf(row);
  const kept = await tx.run(
    `INSERT INTO rotated_device_tokens (realm, token_digest, device_id, rotated_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT DO NOTHING`,
    realm,
    tokenDigest,
    device.id,
    now,
  );
  if (kept !== 1) throw new UnitConflict('a token of a device was in use twice');
  record(tx, device, command.events);
  return { outcome: 'rotated', device };
}

/** A token that was in use before: a moment ago, or somebody has a copy. */
async function judgeRotated(tx: Tx, command: UseDevice): Promise<Used | undefined> {
  const { realm, subject, tokenDigest, graceMs, now } = command;
  const [row] = await tx.all(
    `SELECT trusted_devices.*, rotated_device_tokens.rotated_at FROM rotated_device_tokens
     JOIN trusted_devices ON trusted_devices.id = rotated_device_tokens.device_id
     WHERE rotated_device_tokens.realm = $1 AND rotated_device_tokens.token_digest = $4
       AND trusted_devices.realm = $1 AND trusted_devices.subject = $2
       AND trusted_devices.revoked_at IS NULL AND trusted_devices.expires_at > $3`,
    realm,
    subject,
    now,
    tokenDigest,
  );
  if (!row) return undefined;
  const device = deviceOf(row);
  // A clock that was set back makes no grace longer than it is.
  if (Math.abs(now - whole(row, 'rotated_at')) < graceMs) {
    record(tx, device, command.events);
    return { outcome: 'in_grace', device };
  }
  await revokeDevices(tx, { realm, subject, deviceId: device.id, reason: 'TOKEN_REUSED', now });
  record(tx, device, command.reusedEvents);
  return { outcome: 'reused', device };
}

/** Whoever brings a token does not know which device it is of; the events say. */
function record(tx: Tx, device: TrustedDevice, events: readonly EventDraft[]): void {
  tx.record(...events.map((event) => ({ ...event, facts: { ...event.facts, device_id: device.id } })));
}
