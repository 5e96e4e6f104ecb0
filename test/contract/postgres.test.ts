import { afterAll, beforeAll } from 'vitest';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { twoSidecars } from '../support/postgres-stores.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { describeAttemptStore } from './attempt-store.contract.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeFactorStore } from './factor-store.contract.ts';
import { describeMethodStores } from './method-stores.contract.ts';
import { describeProofClaims } from './proof-claims.contract.ts';
import { describeReceiptBurning } from './receipt-burning.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';
import { describeSigningKeyStore } from './signing-key-store.contract.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

const name = 'PostgreSQL and two sidecars';
const make = (): Promise<StoreFixture> => twoSidecars(server)();
describeChallengeStore(name, make);
describeProofClaims(name, make);
describeReceiptBurning(name, make);
describeAttemptStore(name, make);
describeFactorStore(name, make);
describeSessionStore(name, make);
describeSigningKeyStore(name, make);
describeMethodStores(name, make);
