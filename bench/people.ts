import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLocalStorage } from '../src/adapters/local/client.ts';
import { loadOrCreateKeyRing } from '../src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '../src/adapters/secrets/secret-box.ts';
import { systemRandom } from '../src/adapters/system.ts';
import type { Factor } from '../src/domain/factor.ts';
import { secretBinding } from '../src/domain/factor.ts';
import { newId } from '../src/domain/ids.ts';
import { SEED_BYTES } from '../src/domain/totp.ts';
import type { FactorStore } from '../src/ports/factor-store.ts';

const AT_ONCE = 1_000;
const REALM = 'default';

/** Someone with an authenticator. */
export interface Person {
  readonly subject: string;
  /** base64url. */
  readonly secret: string;
}

/**
 * Puts people with a confirmed authenticator into a data directory that no sidecar has open, and writes them to a file
 * for the clients; answers its path. Through the store, since enrolling makes ten slow hashes per person.
 */
export async function seedPeople(dataDir: string, count: number): Promise<string> {
  const { ring } = await loadOrCreateKeyRing(join(dataDir, 'keys.json'), systemRandom);
  const box = new AesGcmSecretBox({ ring, random: systemRandom });
  const people: Person[] = [];
  await using storage = await openLocalStorage({
    directory: dataDir,
    keyRing: ring,
    maxAuditBytes: 1 << 30,
    log: { debug() {}, info() {}, warn: console.error, error: console.error },
    onFatal: (error) => {
      throw error;
    },
  });
  while (people.length < count) {
    const length = Math.min(AT_ONCE, count - people.length);
    const added = await Promise.all(
      Array.from({ length }, (_, index) => enroll(storage.factors, box, `person-${people.length + index}`)),
    );
    people.push(...added);
  }
  const file = join(dataDir, 'people.json');
  writeFileSync(file, JSON.stringify(people), { mode: 0o600 });
  return file;
}

async function enroll(factors: FactorStore, box: AesGcmSecretBox, subject: string): Promise<Person> {
  const now = Date.now();
  const id = newId('factor', systemRandom.bytes(16));
  const secret = systemRandom.bytes(SEED_BYTES);
  const factor: Factor = {
    id,
    realm: REALM,
    subject,
    method: 'totp',
    displayName: 'phone',
    state: 'PENDING',
    sealedSecret: box.seal(secret, secretBinding({ id, realm: REALM, subject })),
    lastStep: -1,
    driftSteps: 0,
    replaces: '',
    createdAt: now,
    expiresAt: now + 600_000,
    codesLeft: 0,
  };
  const consent = { id: newId('consent', systemRandom.bytes(16)), textVersion: '1', language: 'en', grantedAt: now };
  const begun = await factors.begin({
    factor,
    consent: { ...consent, method: 'totp' },
    firstOnly: true,
    maxFactors: 10,
    now,
    events: [],
  });
  // A step long gone, so that the code of the current one is unused.
  const confirmed = await factors.confirm({
    realm: REALM,
    subject,
    factorId: id,
    step: 1,
    driftSteps: 0,
    now,
    events: [],
    replacedEvents: [],
    backupEvents: [],
  });
  if (begun.outcome !== 'begun' || confirmed.outcome !== 'confirmed')
    throw new Error(`${subject} could not be enrolled: ${begun.outcome}, ${confirmed.outcome}`);
  return { subject, secret: Buffer.from(secret).toString('base64url') };
}
