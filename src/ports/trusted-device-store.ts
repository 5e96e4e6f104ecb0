import type { EventDraft } from '../domain/audit-event.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';
import type { DeviceRevocation, TrustedDevice } from '../domain/trusted-device.ts';

export interface UseDevice {
  readonly realm: string;
  readonly subject: string;
  /** Digest of the token that was presented. */
  readonly tokenDigest: string;
  /** Digest of the token that takes its place. */
  readonly nextDigest: string;
  /** How long the token before the last is still taken, for an answer that was lost or two tabs at once. */
  readonly graceMs: DurationMs;
  readonly now: EpochMs;
  /** Recorded with `rotated` and `in_grace`, with the device's id filled in as the fact `device_id`. */
  readonly events: readonly EventDraft[];
  /** Recorded with `reused`, in the same way. */
  readonly reusedEvents: readonly EventDraft[];
}

/** Devices that were remembered after a full MFA. */
export interface TrustedDeviceStore {
  /** Beyond `maxDevices` the least recently used one goes. */
  trust(command: {
    readonly device: TrustedDevice;
    readonly maxDevices: number;
    readonly now: EpochMs;
    /** Recorded always. */
    readonly events: readonly EventDraft[];
  }): Promise<void>;
  /**
   * `rotated`: the next token is the device's from now on. `in_grace`: the token was rotated out a moment ago; the device
   * is trusted and keeps the token that it has. `reused`: the token was rotated out before that, so somebody has a copy:
   * the device is revoked in the same step. `unknown`: no such token of this person, or its time is up, or revoked.
   */
  use(
    command: UseDevice,
  ): Promise<
    | { readonly outcome: 'rotated' | 'in_grace' | 'reused'; readonly device: TrustedDevice }
    | { readonly outcome: 'unknown' }
  >;
  /** Live ones, most recently used first. */
  list(realm: string, subject: string, now: EpochMs): Promise<readonly TrustedDevice[]>;
  rename(command: {
    readonly realm: string;
    readonly subject: string;
    readonly deviceId: string;
    readonly displayName: string;
    readonly now: EpochMs;
    /** Recorded with a device. */
    readonly events: readonly EventDraft[];
  }): Promise<TrustedDevice | undefined>;
  /** Answers how many were revoked by this call. */
  revoke(command: {
    readonly realm: string;
    readonly subject: string;
    /** '' for all of the person's. */
    readonly deviceId: string;
    readonly reason: DeviceRevocation;
    readonly now: EpochMs;
    /** Recorded when at least one was revoked. */
    readonly events: readonly EventDraft[];
  }): Promise<number>;
  /** Collects rubbish; answers how many rows went. */
  purge(before: EpochMs, limit: number): Promise<number>;
}
