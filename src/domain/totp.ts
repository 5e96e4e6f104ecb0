import { timingSafeEqual } from 'node:crypto';
import { NodeCryptoPlugin } from '@otplib/plugin-crypto-node';
import { generateSync, generateURI, ScureBase32Plugin, verifySync } from 'otplib';
import { type EpochMs, SECOND } from './time.ts';

/** Seeds are 160 bits (RFC 4226 section 4, R6). */
export const SEED_BYTES = 20;

const PERIOD_SECONDS = 30;
const hmac = new NodeCryptoPlugin();
const base32 = new ScureBase32Plugin();

/** What the code is made with. Several phone apps ignore anything but SHA-1 and six digits, so the product uses these. */
export interface TotpForm {
  readonly algorithm: 'sha1' | 'sha256' | 'sha512';
  readonly digits: 6 | 8;
}
const PRODUCT_FORM: TotpForm = { algorithm: 'sha1', digits: 6 };

/** The time step T of RFC 6238 section 4.2, with X = 30 s and T0 = 0. */
export function stepAt(now: EpochMs): number {
  return Math.floor(now / (PERIOD_SECONDS * SECOND));
}

/** The code of one time step: HOTP (RFC 4226 section 5.3) of the step. */
export function codeAt(secret: Uint8Array, step: number, form: TotpForm = PRODUCT_FORM): string {
  return generateSync({ secret, epoch: step * PERIOD_SECONDS, period: PERIOD_SECONDS, crypto: hmac, ...form });
}

/** Whether the text is exactly six ASCII digits; nothing is trimmed or normalised. */
export function isTotpCode(text: string): boolean {
  return /^[0-9]{6}$/.test(text);
}

export interface TotpCheck {
  readonly secret: Uint8Array;
  readonly code: string;
  /** By the server's clock. */
  readonly now: EpochMs;
  /** By how many steps the device is off, from its last resynchronisation. */
  readonly driftSteps: number;
  /** How many steps to either side are accepted; 0 is strict. */
  readonly window: number;
  /** The last accepted step; this one and those before are refused (RFC 6238 section 5.2). -1 before the first. */
  readonly afterStep: number;
}

/** The step whose code it is, or undefined. Never throws: anything malformed is a wrong code. */
export function verifyTotp(check: TotpCheck, form: TotpForm = PRODUCT_FORM): { readonly step: number } | undefined {
  const newest = stepAt(check.now) + check.driftSteps + check.window;
  // The library throws where a clock has gone back behind the last accepted step; for a person it is a used code.
  if (check.code.length !== form.digits || !/^[0-9]+$/.test(check.code) || check.afterStep >= newest) return undefined;
  try {
    const result = verifySync({
      secret: check.secret,
      token: check.code,
      epoch: Math.floor(check.now / SECOND) + check.driftSteps * PERIOD_SECONDS,
      // In seconds, not in steps.
      epochTolerance: check.window * PERIOD_SECONDS,
      period: PERIOD_SECONDS,
      crypto: hmac,
      ...(check.afterStep >= 0 ? { afterTimeStep: check.afterStep } : {}),
      ...form,
    });
    return result.valid && 'timeStep' in result ? { step: result.timeStep } : undefined;
  } catch {
    return undefined;
  }
}

export interface Resynchronization {
  readonly secret: Uint8Array;
  readonly code: string;
  /** The code that the device shows one step later. */
  readonly nextCode: string;
  readonly now: EpochMs;
  /** How many steps to either side are searched; 0 finds nothing. */
  readonly reach: number;
  readonly afterStep: number;
}

/**
 * Finds a device whose clock is off by two consecutive codes (RFC 4226 section 7.4). Answers the step of the second code
 * and by how many steps the device is off. The window of a single code never grows.
 */
export function resynchronize(
  search: Resynchronization,
): { readonly step: number; readonly driftSteps: number } | undefined {
  const { secret, code, nextCode, now, reach, afterStep } = search;
  if (reach < 1 || !isTotpCode(code) || !isTotpCode(nextCode)) return undefined;
  const present = stepAt(now);
  let found: number | undefined;
  const first = Math.max(0, present - reach);
  let current = codeAt(secret, first);
  for (let step = first; step <= present + reach; step += 1) {
    const next = codeAt(secret, step + 1);
    const matches = Number(equal(current, code)) & Number(equal(next, nextCode));
    if (matches === 1 && step > afterStep) found = step + 1;
    current = next;
  }
  return found === undefined ? undefined : { step: found, driftSteps: found - present };
}

/**
 * The provisioning URI that authenticator apps read. Neither part may have a colon, since a colon, even percent-encoded,
 * parts issuer and account; callers see to it. Algorithm, digits and period are the apps' defaults and left out.
 */
export function totpKeyUri(key: {
  readonly issuer: string;
  readonly accountName: string;
  readonly secret: Uint8Array;
}): string {
  if (`${key.issuer}${key.accountName}`.includes(':')) throw new RangeError('issuer and account name have no colon');
  return generateURI({
    issuer: key.issuer.toWellFormed(),
    label: key.accountName.toWellFormed(),
    secret: base32.encode(key.secret),
  });
}

/** The seed in base32 (RFC 4648 section 6) in groups of four, for typing. */
export function totpManualKey(secret: Uint8Array): string {
  return (base32.encode(secret).match(/.{1,4}/g) ?? []).join(' ');
}

/** The seed behind such a key. Throws on anything that is not base32. */
export function seedOfManualKey(key: string): Uint8Array {
  return base32.decode(key.replaceAll(' ', ''));
}

function equal(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1'));
}
