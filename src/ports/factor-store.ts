import type { EventDraft } from '../domain/audit-event.ts';
import type { BackupCodeHash, Consent, Factor, FreezeReason } from '../domain/factor.ts';
import type { Method } from '../domain/method.ts';
import type { EpochMs } from '../domain/time.ts';
import type { ReceiptBurn, Repeat, RequestClaim } from './intents.ts';

export interface BackupCodeSet {
  /** ACTIVE, method `backup_code`. */
  readonly factor: Factor;
  readonly codes: readonly BackupCodeHash[];
}

export interface BeginFactor {
  /** PENDING. An older pending enrolment of the same person and method is dropped. */
  readonly factor: Factor;
  /** Recorded in the same step, in place of an older one; absent when one stands, which is checked in the same step. */
  readonly consent?: Consent;
  /** Keyed digest of the temporary pass that was given. It stands until the first factor is confirmed. */
  readonly pass?: Uint8Array;
  /** Burned in the same step; absent for a first enrolment. */
  readonly receipt?: ReceiptBurn;
  /** Without a receipt the person must have no active factor, checked in the same step. */
  readonly firstOnly: boolean;
  readonly maxFactors: number;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `begun`. */
  readonly events: readonly EventDraft[];
}

/** What the confirmation of an enrolment proves, and what it stores. */
export type FactorProof =
  /** The matched step, claimed with the confirmation. */
  | { readonly kind: 'totp'; readonly step: number; readonly driftSteps: number }
  /** The code that was sent, used up with the confirmation. */
  | { readonly kind: 'issued'; readonly digest: Uint8Array }
  /** What the browser made; `sealedSecret` and `uniqueDigest` are stored with the confirmation. The nonce was taken before. */
  | {
      readonly kind: 'made';
      readonly sealedSecret: Uint8Array;
      readonly uniqueDigest: Uint8Array;
      readonly signCount: number;
    };

export interface ConfirmFactor {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  readonly proof: FactorProof;
  /** Stored only if the person has no backup codes yet. */
  readonly backupCodes?: BackupCodeSet;
  readonly now: EpochMs;
  /**
   * A key that AttemptStore.spend noted as refused becomes approved in the same step and takes this seed, which a later
   * spend with the key answers; a key noted by anything else is a repeat.
   */
  readonly request?: RequestClaim;
  /** Recorded with `confirmed`. */
  readonly events: readonly EventDraft[];
  /** Recorded as well when another factor was replaced. */
  readonly replacedEvents: readonly EventDraft[];
  /** Recorded as well when the backup codes were stored. */
  readonly backupEvents: readonly EventDraft[];
  /** Recorded as well when trusted devices were revoked since a factor was replaced: all of the person's, FACTOR_CHANGE. */
  readonly deviceEvents?: readonly EventDraft[];
}

export interface RemoveFactor {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  readonly receipt: ReceiptBurn;
  /** When not empty, one active factor of these methods must remain that is not frozen. Backup codes never stand alone: they go with the last other factor. */
  readonly mustKeepOneOf: readonly Method[];
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `removed`. */
  readonly events: readonly EventDraft[];
  /** Recorded as well when trusted devices were revoked with an active factor: all of the person's, FACTOR_CHANGE. */
  readonly deviceEvents?: readonly EventDraft[];
}

export interface FreezeFactors {
  readonly realm: string;
  readonly subject: string;
  /** Of these methods. */
  readonly methods: readonly Method[];
  /** This one alone; all of the methods if absent. */
  readonly factorId?: string;
  readonly reason: FreezeReason;
  /** Recorded when at least one changed. */
  readonly events: readonly EventDraft[];
}

export interface ReplaceBackupCodes {
  readonly realm: string;
  readonly subject: string;
  readonly set: BackupCodeSet;
  readonly receipt: ReceiptBurn;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `replaced`. */
  readonly events: readonly EventDraft[];
}

export interface FactorStore {
  begin(command: BeginFactor): Promise<
    | { readonly outcome: 'begun' }
    /** `taken`: somebody, perhaps this person, has an active factor of the same digest that is not being replaced. */
    | { readonly outcome: 'receipt_spent' | 'not_first' | 'too_many' | 'replaces_missing' | 'no_consent' | 'taken' }
    /** A first enrolment of somebody who was reset: no pass, a wrong one, or one whose time is up. */
    | { readonly outcome: 'pass_required' | 'pass_wrong' }
    | Repeat
  >;
  /** All factors of a person, pending ones too (unless lapsed), oldest first. */
  list(realm: string, subject: string, now: EpochMs): Promise<readonly Factor[]>;
  read(realm: string, factorId: string): Promise<Factor | undefined>;
  /**
   * `replaced` names the factor that went, if one did: as with `remove`, receipts that it has proven are spent. Restores the
   * failure budget. Every other pending enrolment of the person ends with the first factor and with one that went; the
   * temporary pass with the first.
   */
  confirm(command: ConfirmFactor): Promise<
    | {
        readonly outcome: 'confirmed';
        readonly factor: Factor;
        readonly backupCodesStored: boolean;
        readonly replaced: string;
      }
    /** `proof_spent`: the issued code is not the newest, or used. `taken`: somebody has a factor of the same digest. */
    | { readonly outcome: 'missing' | 'lapsed' | 'already_active' | 'proof_spent' | 'taken' }
    | Repeat
  >;
  /** With a factor in use go its receipts that are not redeemed, and every pending enrolment of the person. */
  remove(
    command: RemoveFactor,
  ): Promise<
    { readonly outcome: 'removed' } | { readonly outcome: 'missing' | 'receipt_spent' | 'last_factor' } | Repeat
  >;
  /** Factors that are held, but prove nothing until they are thawed. Answers how many changed. */
  freeze(command: FreezeFactors): Promise<number>;
  /** Answers how many changed. */
  thaw(command: FreezeFactors): Promise<number>;
  /** Voids every older code at once. */
  replaceBackupCodes(
    command: ReplaceBackupCodes,
  ): Promise<{ readonly outcome: 'replaced' } | { readonly outcome: 'receipt_spent' } | Repeat>;
  /** Collects enrolments that lapsed before `before`; answers how many went. */
  purge(before: EpochMs, limit: number): Promise<number>;
  /** The unspent code with this selector, if there is one. */
  findBackupCode(
    realm: string,
    subject: string,
    selector: string,
  ): Promise<(BackupCodeHash & { readonly factorId: string }) | undefined>;
}
