import type { DurationMs } from '../domain/time.ts';

/** A registered credential (W3C WebAuthn section 4), as kept sealed in its factor. */
export interface WebAuthnCredential {
  /** base64url. */
  readonly id: string;
  /** COSE key. */
  readonly publicKey: Uint8Array;
  readonly transports: readonly string[];
  readonly backupEligible: boolean;
}

/** Why a ceremony was refused, one word for events and metrics. */
export type WebAuthnRefusal =
  | 'MALFORMED'
  | 'TYPE'
  | 'CHALLENGE'
  | 'ORIGIN'
  | 'CROSS_ORIGIN'
  | 'RP_ID'
  | 'USER_NOT_PRESENT'
  | 'USER_NOT_VERIFIED'
  | 'BACKUP_STATE'
  | 'ALGORITHM'
  | 'ATTESTATION'
  | 'CREDENTIAL_ID'
  | 'SIGNATURE'
  | 'COUNTER';

/** The ceremonies of WebAuthn Level 3 (sections 7.1 and 7.2). Loads its library with the first use. */
export interface WebAuthn {
  /** PublicKeyCredentialCreationOptionsJSON. */
  creationOptions(input: {
    readonly challenge: Uint8Array;
    readonly userHandle: Uint8Array;
    readonly userName: string;
    /** Credential ids of the person. */
    readonly exclude: readonly string[];
    /** How long the browser should wait for the person. */
    readonly timeoutMs: DurationMs;
  }): Promise<string>;
  /** PublicKeyCredentialRequestOptionsJSON. */
  requestOptions(input: {
    readonly challenge: Uint8Array;
    readonly allow: readonly Pick<WebAuthnCredential, 'id' | 'transports'>[];
    readonly requireUserVerification: boolean;
    /** How long the browser should wait for the person. */
    readonly timeoutMs: DurationMs;
  }): Promise<string>;
  /** `json` is a RegistrationResponseJSON as it came. */
  verifyRegistration(input: {
    readonly json: string;
    readonly challenge: Uint8Array;
  }): Promise<
    | { readonly outcome: 'right'; readonly credential: WebAuthnCredential; readonly signCount: number }
    | { readonly outcome: 'refused'; readonly refusal: WebAuthnRefusal }
  >;
  /** `json` is an AuthenticationResponseJSON as it came; whether the counter grew is decided with the store's step. */
  verifyAssertion(input: {
    readonly json: string;
    readonly challenge: Uint8Array;
    readonly credential: WebAuthnCredential;
    readonly userHandle: Uint8Array;
    readonly requireUserVerification: boolean;
  }): Promise<
    | { readonly outcome: 'right'; readonly signCount: number; readonly userVerified: boolean }
    | { readonly outcome: 'refused'; readonly refusal: WebAuthnRefusal }
  >;
  /** The credential id that an answer names, to find its factor; undefined when it is unreadable. */
  credentialIdOf(json: string): string | undefined;
}
