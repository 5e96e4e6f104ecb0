import { afterAll, beforeAll } from 'vitest';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { startRedis } from '../../scripts/servers/redis.ts';
import { PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { sharedStores } from '../support/shared-stores.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeMethodStores } from './method-stores.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';

let postgres: PostgresServer;
let redis: Awaited<ReturnType<typeof startRedis>>;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([PostgresServer.start(), startRedis()]);
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const name = 'a single Redis in front of PostgreSQL, and two sidecars';
const make = sharedStores(
  () => postgres,
  () => targetOf({ at: [redis.address], timeoutMs: PATIENT_MS }),
);
describeChallengeStore(name, make);
describeSessionStore(name, make);
describeMethodStores(name, make);
