import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EventCommit } from '../src/adapters/audit/contract.ts';
import { openLocalStorage } from '../src/adapters/local/client.ts';
import { loadOrCreateKeyRing } from '../src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '../src/adapters/secrets/secret-box.ts';
import { SqlFactorStore } from '../src/adapters/sql/factor-store.ts';
import { systemRandom } from '../src/adapters/system.ts';
import type { Factor } from '../src/domain/factor.ts';
import { secretBinding } from '../src/domain/factor.ts';
import { newId } from '../src/domain/ids.ts';
import { SEED_BYTES } from '../src/domain/totp.ts';
import type { FactorStore } from '../src/ports/factor-store.ts';
import { LOG, openExecutor, openPool } from './postgres.ts';
import type { Stores } from './stores.ts';

const AT_ONCE = 1_000;
const REALM = 'default';
const SEEDING_CONNECTIONS = 8;

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
  await using storage = await openLocalStorage({
    directory: dataDir,
    keyRing: ring,
    maxAuditBytes: 1 << 30,
    log: LOG,
    onFatal: (error) => {
      throw error;
    },
  });
  return await seed(storage.factors, new AesGcmSecretBox({ ring, random: systemRandom }), dataDir, count);
}

/** As `seedPeople`, into the PostgreSQL that sidecars share. */
export async function seedSharedPeople(stores: Stores, count: number): Promise<string> {
  const { ring } = await loadOrCreateKeyRing(stores.keysFile, systemRandom);
  const pool = openPool(stores.url, SEEDING_CONNECTIONS);
  try {
    const events: EventCommit = { take: () => Promise.reject(new Error('seeding records nothing')) };
    const factors = new SqlFactorStore(openExecutor(pool, events));
    const box = new AesGcmSecretBox({ ring, random: systemRandom });
    return await seed(factors, box, stores.directory('people'), count);
  } finally {
    await pool.close();
  }
}

async function seed(factors: FactorStore, box: AesGcmSecretBox, directory: string, count: number): Promise<string> {
  const people: Person[] = [];
  while (people.length < count) {
    const length = Math.min(AT_ONCE, count - people.length);
    const added = await Promise.all(
      Array.from({ length }, (_, index) => enroll(factors, box, `person-${people.length + index}`)),
    );
    people.push(...added);
  }
  const file = join(directory, 'people.json');
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
    proof: { kind: 'totp', step: 1, driftSteps: 0 },
    now,
    events: [],
    replacedEvents: [],
    backupEvents: [],
  });
  if (begun.outcome !== 'begun' || confirmed.outcome !== 'confirmed')
    throw new Error(`${subject} could not be enrolled: ${begun.outcome}, ${confirmed.outcome}`);
  return { subject, secret: Buffer.from(secret).toString('base64url') };
}
