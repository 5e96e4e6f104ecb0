import { isSameBytes } from '#src/domain/same-bytes.ts';
import { demand } from './refused.ts';

/** The flags of authenticator data (W3C WebAuthn Level 3 section 6.1) that are looked at. */
export interface AuthenticatorFlags {
  readonly up: boolean;
  readonly uv: boolean;
  readonly be: boolean;
  readonly bs: boolean;
}

/**
 * What the authenticator says of the ceremony (sections 7.1 and 7.2, the steps on rpIdHash and flags). Eligibility for
 * backup never changes in the life of a credential, and nothing is backed up that is not eligible.
 *
 * Throws Refused: RP_ID, USER_NOT_PRESENT, USER_NOT_VERIFIED, BACKUP_STATE.
 */
export function checkAuthenticatorData(
  data: { readonly rpIdHash: Uint8Array; readonly flags: AuthenticatorFlags },
  expected: {
    readonly rpIdHash: Uint8Array;
    readonly requireUserVerification: boolean;
    /** As at registration; absent for a registration. */
    readonly backupEligible?: boolean;
  },
): void {
  const { rpIdHash, flags } = data;
  demand(isSameBytes(rpIdHash, expected.rpIdHash), 'RP_ID');
  demand(flags.up, 'USER_NOT_PRESENT');
  demand(flags.uv || !expected.requireUserVerification, 'USER_NOT_VERIFIED');
  demand(flags.be || !flags.bs, 'BACKUP_STATE');
  demand(expected.backupEligible === undefined || flags.be === expected.backupEligible, 'BACKUP_STATE');
}
