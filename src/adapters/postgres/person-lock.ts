import { createHash } from 'node:crypto';

/**
 * The advisory lock of a person, as a literal for SQL: 64 bits of SHA-256. Two people may share one by chance; then they
 * wait for one another and nothing else happens.
 */
export function personLock(realm: string, subject: string): string {
  return `'${createHash('sha256').update(`${realm}\n${subject}`).digest().readBigInt64BE(0)}'::bigint`;
}
