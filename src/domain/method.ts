/** Ways to prove presence. */
export type Method = 'totp' | 'sms' | 'push' | 'webauthn' | 'backup_code';

export const METHODS: readonly Method[] = ['totp', 'sms', 'push', 'webauthn', 'backup_code'];

/**
 * How hard a method is to steal, for "a factor at least as strong" (NIST SP 800-63B section 6.1.2): changing a factor
 * needs a proof by a method of the same rank or above.
 */
const STRENGTH: Readonly<Record<Method, number>> = { backup_code: 1, sms: 1, totp: 2, push: 2, webauthn: 3 };

export function isAtLeastAsStrong(proof: Method, factor: Method): boolean {
  return STRENGTH[proof] >= STRENGTH[factor];
}

/** Authentication method references (RFC 8176 section 2). */
const AMR: Readonly<Record<Method, readonly string[]>> = {
  totp: ['otp', 'mfa'],
  sms: ['sms', 'mfa'],
  push: ['swk', 'user', 'mfa'],
  webauthn: ['hwk', 'user', 'mfa'],
  backup_code: ['kba', 'mfa'],
};

export function amrOf(method: Method): readonly string[] {
  return AMR[method];
}

/** Methods whose proof can be guessed and so spends the failure budget. */
export function isGuessable(method: Method): boolean {
  return method === 'totp' || method === 'sms' || method === 'backup_code' || method === 'push';
}
