import { afterAll, beforeAll } from 'vitest';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { startSentinel } from '../../scripts/servers/redis-sentinel.ts';
import { PATIENT_MS, targetOf } from '../support/redis-front.ts';
import { sharedStores } from '../support/shared-stores.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeDeliveries } from './deliveries.contract.ts';
import { describeMethodProofs } from './method-proofs.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';

let postgres: PostgresServer;
let redis: Awaited<ReturnType<typeof startSentinel>>;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([PostgresServer.start(), startSentinel({ downAfterMs: 10_000 })]);
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

const name = 'Redis Sentinel in front of PostgreSQL, and two sidecars';
const make = sharedStores(
  () => postgres,
  () => targetOf({ mode: 'sentinel', at: redis.addresses, timeoutMs: PATIENT_MS }),
);
describeChallengeStore(name, make);
describeSessionStore(name, make);
describeDeliveries(name, make);
describeMethodProofs(name, make);
