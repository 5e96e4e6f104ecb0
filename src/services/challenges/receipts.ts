import { assuranceOf, type Challenge, type ChallengePurpose } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { type DurationMs, SECOND } from '#src/domain/time.ts';
import type { ReceiptPayload, ReceiptSigner, ReceiptTokens, ReceiptVerifier } from '#src/ports/receipt-tokens.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SigningKey, SigningKeyStore } from '#src/ports/signing-key-store.ts';
import type { ReceiptAuthority, ReceiptClaims } from '../contracts.ts';
import type { Trail } from '../trail.ts';

const USE = 'receipt';

export interface ReceiptsDependencies {
  readonly tokens: ReceiptTokens;
  readonly keys: SigningKeyStore;
  readonly box: SecretBox;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  /** `iss`. */
  readonly issuer: string;
  /** Another sidecar may have made a key since the list was read: an unknown one is looked up again, this often at most. */
  readonly refreshMs: DurationMs;
}

interface Keys {
  readonly all: readonly SigningKey[];
  readonly verifier: ReceiptVerifier;
  /** By `Clock.monotonic`. */
  readonly readAt: number;
}

/** Signs and verifies receipts. Keys are made on first need, sealed in the store, and kept here once opened. */
export class Receipts implements ReceiptAuthority {
  readonly #deps: ReceiptsDependencies;
  #signer: Promise<ReceiptSigner> | undefined;
  #keys: Promise<Keys> | undefined;

  constructor(deps: ReceiptsDependencies) {
    this.#deps = deps;
  }

  /** Throws Fault(precondition, CHALLENGE_NOT_APPROVED) for anything but an approved challenge. */
  async issue(challenge: Challenge): Promise<{ readonly token: string; readonly expiresAt: number }> {
    const { receiptId, receiptExpiresAt: expiresAt, settledAt, approvalReason } = challenge;
    const complete = receiptId !== undefined && expiresAt !== undefined && settledAt !== undefined;
    if (challenge.state !== 'APPROVED' || approvalReason === undefined || !complete) {
      throw new Fault('precondition', 'CHALLENGE_NOT_APPROVED', 'only an approved challenge has a receipt');
    }
    const { amr, acr } = assuranceOf(challenge);
    const payload: ReceiptPayload = {
      iss: this.#deps.issuer,
      aud: challenge.audience,
      sub: challenge.subject,
      ...(challenge.sessionId === '' ? {} : { sid: challenge.sessionId }),
      jti: receiptId,
      iat: Math.floor(settledAt / SECOND),
      exp: Math.floor(expiresAt / SECOND),
      realm: challenge.realm,
      cid: challenge.id,
      purpose: challenge.purpose,
      act: challenge.actionDigest,
      amr,
      acr,
      apr: approvalReason,
      ...(challenge.provenMethod === undefined ? {} : { mth: challenge.provenMethod }),
    };
    const signer = await this.#activeSigner();
    return { token: await signer.sign(payload), expiresAt };
  }

  async verify(realm: string, token: string): Promise<ReceiptClaims> {
    const { issuer, clock, refreshMs } = this.#deps;
    const read = async (keys: Keys) => keys.verifier.verify(token, { issuer, now: clock.now() });
    const keys = await this.#knownKeys();
    let payload = await read(keys);
    // Where no key was known yet, another sidecar may have made the first one since.
    if (!payload && (keys.all.length === 0 || clock.monotonic() - keys.readAt >= refreshMs)) {
      this.#keys = undefined;
      payload = await read(await this.#knownKeys());
    }
    if (payload?.realm === realm) return claimsOf(payload);
    throw new Fault('precondition', 'RECEIPT_INVALID', 'the receipt is expired, or was not made here');
  }

  async jwks(): Promise<{ readonly keys: readonly Readonly<Record<string, unknown>>[] }> {
    await this.#activeSigner();
    const { all } = await this.#knownKeys();
    return {
      keys: all.map((key) => ({
        ...(JSON.parse(key.publicJwk) as Record<string, unknown>),
        kid: key.id,
        alg: 'EdDSA',
        use: 'sig',
      })),
    };
  }

  #activeSigner(): Promise<ReceiptSigner> {
    this.#signer ??= this.#loadSigner().catch((error: unknown) => {
      this.#signer = undefined;
      throw error;
    });
    return this.#signer;
  }

  async #loadSigner(): Promise<ReceiptSigner> {
    const { keys, tokens, box } = this.#deps;
    const active = (await keys.list(USE)).find((key) => key.retiredAt === undefined) ?? (await this.#makeKey());
    this.#keys = undefined;
    return tokens.signer(active.id, box.open(active.sealedPrivate, bindingOf(active.id)));
  }

  async #makeKey(): Promise<SigningKey> {
    const { keys, tokens, box, trail, clock, random } = this.#deps;
    const id = newId('key', random.bytes(16));
    const pair = await tokens.generate();
    const candidate: SigningKey = {
      id,
      publicJwk: pair.publicJwk,
      sealedPrivate: box.seal(pair.pkcs8, bindingOf(id)),
      createdAt: clock.now(),
    };
    pair.pkcs8.fill(0);
    const event = trail.draft('key.created', undefined, {
      realm: '',
      outcome: 'SUCCESS',
      facts: { key_id: id, use: USE, algorithm: 'EdDSA' },
    });
    return keys.ensure(USE, candidate, [event]);
  }

  #knownKeys(): Promise<Keys> {
    this.#keys ??= this.#readKeys().catch((error: unknown) => {
      this.#keys = undefined;
      throw error;
    });
    return this.#keys;
  }

  async #readKeys(): Promise<Keys> {
    const { keys, tokens, clock } = this.#deps;
    const all = await keys.list(USE);
    return { all, verifier: tokens.verifier(all), readAt: clock.monotonic() };
  }
}

function bindingOf(keyId: string) {
  return { purpose: 'signing-key', realm: '', subject: '', id: keyId };
}

function claimsOf(payload: ReceiptPayload): ReceiptClaims {
  return {
    receiptId: payload.jti,
    realm: payload.realm,
    audience: payload.aud,
    subject: payload.sub,
    sessionId: payload.sid ?? '',
    challengeId: payload.cid,
    purpose: payload.purpose as ChallengePurpose,
    actionDigest: payload.act,
    amr: payload.amr,
    acr: payload.acr,
    approvalReason: payload.apr,
    approvedAt: payload.iat * SECOND,
    expiresAt: payload.exp * SECOND,
    ...(payload.mth === undefined ? {} : { method: payload.mth }),
  };
}
