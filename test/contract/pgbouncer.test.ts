import { afterAll, beforeAll } from 'vitest';
import { Pgbouncer } from '../../scripts/servers/pgbouncer.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { twoSidecars } from '../support/postgres-stores.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeMethodStores } from './method-stores.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';

let server: PostgresServer;
let pooler: Pgbouncer;
beforeAll(async () => {
  server = await PostgresServer.start();
  // Fewer connections to the server than the sidecars have to the pooler, so that transactions change places.
  pooler = await Pgbouncer.start({ postgres: server, poolSize: 2 });
});
afterAll(async () => {
  await pooler[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const name = 'PostgreSQL behind PgBouncer in transaction mode';
const make = (): Promise<StoreFixture> => twoSidecars(server, { urlOf: (database) => pooler.url(database) })();
describeSessionStore(name, make);
describeChallengeStore(name, make);
describeMethodStores(name, make);
