// How many ends of sessions a second the log of changes takes, all in one realm and spread over several, through the
// product's own store, from several sidecars' worth of connections. Arguments: URL of the database, file of the key ring,
// ends, sidecars, realms, how long the trail of each takes to be durable, in ms. Prints one line of JSON.
import { setTimeout as pause } from 'node:timers/promises';
import { loadOrCreateKeyRing } from '../../src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '../../src/adapters/secrets/secret-box.ts';
import { SqlSessionStore } from '../../src/adapters/sql/session-store.ts';
import { systemRandom } from '../../src/adapters/system.ts';
import { newId } from '../../src/domain/ids.ts';
import { openExecutor, openPool } from '../postgres.ts';
import { sampleEvent } from '../sample-event.ts';

const [url = '', keysFile = '', ends, sidecars, realms, durableMs] = process.argv.slice(2);
const { ring } = await loadOrCreateKeyRing(keysFile, systemRandom);
const box = new AesGcmSecretBox({ ring, random: systemRandom });
const events = {
  take: async () => {
    await pause(Number(durableMs));
    return { confirm() {}, revoke: async () => {} };
  },
};
const pools = Array.from({ length: Number(sidecars) }, () => openPool(url, 2));
const stores = pools.map((pool) => new SqlSessionStore(openExecutor(pool, events), box));
const now = Date.now();
const event = (number: number) => sampleEvent(newId('event', systemRandom.bytes(16)), number);

interface Made {
  readonly id: string;
  readonly realm: string;
  readonly number: number;
}

async function create(store: SqlSessionStore, number: number): Promise<Made> {
  const id = newId('session', systemRandom.bytes(16));
  const realm = `realm-${number % Number(realms)}`;
  const session = {
    id,
    realm,
    subject: `leaver-${process.pid}-${number}`,
    tokenDigest: Buffer.from(systemRandom.bytes(32)).toString('base64url'),
    device: { ipAddress: '', userAgent: '', deviceId: '', browser: '', operatingSystem: '' },
    amr: [],
    acr: '',
    labels: {},
    createdAt: now,
    lastUsedAt: now,
    expiresAt: now + 86_400_000,
    idleMs: 3_600_000,
  };
  await store.create({
    session,
    cap: 5,
    policy: 'evict_oldest',
    endSessionIds: [],
    now,
    events: [],
    evictionEvent: event(number),
  });
  return { id, realm, number };
}

/** All of it by all stores, each at its own. */
async function each<T, R>(
  all: readonly T[],
  work: (store: SqlSessionStore, one: T) => Promise<R>,
): Promise<readonly R[]> {
  const waiting = all.values();
  const results: R[] = [];
  await Promise.all(
    stores.map(async (store) => {
      for (const one of waiting) results.push(await work(store, one));
    }),
  );
  return results;
}

const made = await each(
  Array.from({ length: Number(ends) }, (_, number) => number),
  create,
);
const begun = performance.now();
await each(made, (store, { id, realm, number }) =>
  store.end({ realm, target: { kind: 'ids', sessionIds: [id] }, reason: 'LOGOUT', now, event: event(number) }),
);
const perSecond = (made.length / (performance.now() - begun)) * 1000;
await Promise.all(pools.map((pool) => pool.close()));
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
