import { demand } from './refused.ts';

/**
 * Formats that are taken: none was asked for, and `packed` is how an authenticator attests itself. The others carry
 * certificates whose revocation the library would ask for at addresses that they name, so they never reach it.
 */
const FORMATS: readonly unknown[] = ['none', 'packed'];

/**
 * W3C WebAuthn Level 3 section 8.2: who attests itself does it with the credential's own algorithm, which the library
 * leaves out. Whose certificate signs a `packed` statement is not evaluated. Throws Refused ATTESTATION.
 */
export function checkAttestation(format: unknown, statement: unknown, algorithm: number): void {
  demand(FORMATS.includes(format), 'ATTESTATION');
  demand(statement instanceof Map, 'ATTESTATION');
  if (format === 'none') return;
  const certificates: unknown = statement.get('x5c');
  if (certificates === undefined) demand(statement.get('alg') === algorithm, 'ATTESTATION');
  else demand(Array.isArray(certificates) && certificates.length > 0, 'ATTESTATION');
}
