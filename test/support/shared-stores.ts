import type { RedisTarget } from '#src/adapters/redis/client-options.ts';
import { makeSharedRoom } from '#src/adapters/shared/shared-room.ts';
import { StoreDependencies } from '#src/adapters/shared/store-dependencies.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { systemRandom } from '#src/adapters/system.ts';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';
import { SILENT } from './local-stores.ts';
import { MemoryTrail } from './memory-trail.ts';
import { newDatabase, openExecutor, type Stores, storesOver, takingTurns } from './postgres-stores.ts';
import { CountingMetrics } from './recording-telemetry.ts';
import { PATIENT_MS, RedisFront, sampleClock } from './redis-front.ts';
import type { MakeStores, StoreFixture } from './store-fixture.ts';
import { REALM } from './store-samples.ts';

interface OpenSidecar {
  readonly stores: Stores;
  close(): Promise<void>;
}

async function openSidecar(url: string, trail: MemoryTrail, target: RedisTarget): Promise<OpenSidecar> {
  const { executor, pool, close } = openExecutor({ url, trail });
  const front = await RedisFront.start(target, { keepaliveMs: PATIENT_MS });
  const stores = storesOver(executor);
  const room = makeSharedRoom({
    sessions: stores.sessions,
    challenges: new SqlChallengeStore(executor),
    front: { sessions: front.sessions, challenges: front.challenges, pendingEnds: front.ends, news: front.news },
    dependencies: new StoreDependencies([front.connection, pool.breaker]),
    realms: [REALM],
    longestOutageMs: 60_000,
    lookTimeoutMs: 20_000,
    retryAfterMs: 1_000,
    clock: sampleClock,
    random: systemRandom,
    log: SILENT,
    metrics: new CountingMetrics(),
  });
  await room.start();
  return {
    stores: { ...stores, sessions: room.sessions, challenges: room.challenges },
    close: async () => {
      await room.stop();
      front[Symbol.dispose]();
      await close();
    },
  };
}

/**
 * The stores as sidecars in shared mode have them, Redis in front of PostgreSQL, over two sidecars that take turns call
 * by call: what one changed, the next has to see, whatever Redis still holds.
 */
export function sharedStores(server: () => PostgresServer, target: () => RedisTarget): MakeStores {
  return async () => {
    const { url } = await newDatabase(server());
    const trail = new MemoryTrail();
    const open = async (): Promise<StoreFixture> => {
      const sidecars = await Promise.all([0, 1].map(() => openSidecar(url, trail, target())));
      const close = async () => {
        await Promise.all(sidecars.map((sidecar) => sidecar.close()));
      };
      return {
        ...takingTurns(sidecars.map(({ stores }) => stores)),
        audit: trail,
        restart: async () => {
          await close();
          return await open();
        },
        close,
      };
    };
    return await open();
  };
}
