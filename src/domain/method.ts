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

/**
 * How strong the proof has to be for a factor to be added to others: as the new one, but no stronger than the strongest
 * that the person has. Otherwise nobody could move on to a stronger one (NIST SP 800-63B section 6.1.2.1).
 */
export function measureForAdding(added: Method, held: readonly Method[]): Method {
  if (held.length === 0 || held.some((method) => isAtLeastAsStrong(method, added))) return added;
  return held.reduce((strongest, method) => (isAtLeastAsStrong(method, strongest) ? method : strongest));
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

/** The methods that gave these references. */
export function methodsOfAmr(amr: readonly string[]): readonly Method[] {
  return METHODS.filter((method) => amr.includes(AMR[method][0] ?? ''));
}

/** Methods whose proof can be guessed and so spends the failure budget. */
export function isGuessable(method: Method): boolean {
  return method === 'totp' || method === 'sms' || method === 'backup_code' || method === 'push';
}
