import { afterAll, beforeAll } from 'vitest';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { startRedisCluster } from '../../scripts/servers/redis-cluster.ts';
import { PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { sharedStores } from '../support/shared-stores.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeDeliveries } from './deliveries.contract.ts';
import { describeMethodProofs } from './method-proofs.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';

let postgres: PostgresServer;
let redis: Awaited<ReturnType<typeof startRedisCluster>>;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([PostgresServer.start(), startRedisCluster({ nodeTimeoutMs: 5_000 })]);
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const name = 'Redis Cluster in front of PostgreSQL, and two sidecars';
const make = sharedStores(
  () => postgres,
  () => targetOf({ mode: 'cluster', at: redis.addresses.slice(0, 1), timeoutMs: PATIENT_MS }),
);
describeChallengeStore(name, make);
describeSessionStore(name, make);
describeDeliveries(name, make);
describeMethodProofs(name, make);
