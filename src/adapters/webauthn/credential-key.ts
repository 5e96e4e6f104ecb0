import { demand, Refused } from './refused.ts';

/** What we ask for and take, best first: EdDSA with Ed25519, ES256 with P-256, RS256 (IANA COSE algorithms). */
export const ALGORITHMS: readonly number[] = [-8, -7, -257];

/** Labels of a COSE key (RFC 9052 section 7.1, RFC 9053 section 7); `first` is crv, or n of RSA. */
const LABEL = { kty: 1, alg: 3, first: -1, second: -2, third: -3 };
/** Bytes: 2048 bits is the least that is safe, 4096 the most that is cheap to verify. */
const RSA_MODULUS = { min: 256, max: 512 };
const MAX_RSA_EXPONENT = 4;

/**
 * Whether the key is of one of `ALGORITHMS` and on the curve that goes with it: the library takes a P-384 key that calls
 * itself ES256. Answers the algorithm. Throws Refused ALGORITHM.
 */
export function checkCredentialKey(key: unknown): number {
  if (!(key instanceof Map)) throw new Refused('ALGORITHM');
  const alg: unknown = key.get(LABEL.alg);
  demand(typeof alg === 'number' && ALGORITHMS.includes(alg), 'ALGORITHM');
  const kty: unknown = key.get(LABEL.kty);
  const first: unknown = key.get(LABEL.first);
  const second: unknown = key.get(LABEL.second);
  switch (alg) {
    case -8:
      demand(kty === 1 && first === 6 && hasBytes(second, 32, 32), 'ALGORITHM');
      break;
    case -7:
      demand(kty === 2 && first === 1 && hasBytes(second, 32, 32), 'ALGORITHM');
      demand(hasBytes(key.get(LABEL.third), 32, 32), 'ALGORITHM');
      break;
    default:
      demand(kty === 3 && hasBytes(first, RSA_MODULUS.min, RSA_MODULUS.max), 'ALGORITHM');
      demand(hasBytes(second, 1, MAX_RSA_EXPONENT), 'ALGORITHM');
  }
  return alg;
}

function hasBytes(value: unknown, min: number, max: number): boolean {
  return value instanceof Uint8Array && value.length >= min && value.length <= max;
}
