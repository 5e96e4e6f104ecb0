import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { NoticingExecutor } from '#src/adapters/sql/noticing-executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import { type PersonKeys, SqlSubjectStore } from '#src/adapters/sql/subject-store.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { TEST_RING } from '../support/local-stores.ts';
import { MemorySql } from '../support/memory-sql.ts';
import { MemoryTrail } from '../support/memory-trail.ts';
import { newDatabase, openExecutor, type Stores } from '../support/postgres-stores.ts';
import { bytes, digest, eventOf, person, REALM, T0 } from '../support/store-samples.ts';
import { describeErasedRows } from './erased-rows.contract.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

describeErasedRows('SQLite', async () => {
  const sql = new MemorySql([]);
  return {
    sql,
    stores: storesOver(sql, { table: 'subjects' }),
    listTables: `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`,
    makeKey: (subject) =>
      sql.unit((tx) => {
        const insert = 'INSERT INTO subjects (realm, subject, ref, sealed_key) VALUES ($1, $2, $3, $4)';
        tx.run(insert, REALM, subject, digest(), bytes());
      }),
    close: async () => void sql.db.close(),
  };
});

describeErasedRows('PostgreSQL', async () => {
  const { url } = await newDatabase(server);
  const { executor: sql, close } = openExecutor({ url, trail: new MemoryTrail() });
  return {
    sql,
    stores: storesOver(sql, { table: 'subject_keys' }),
    listTables: `SELECT table_name AS name FROM information_schema.tables
      WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'`,
    makeKey: (subject) => makeKey(sql, subject),
    close,
  };
});

describe('erasures by two sidecars on PostgreSQL', () => {
  it('become visible in the order of their positions, so that nobody who follows them misses one', async () => {
    const { url } = await newDatabase(server);
    const slow = new MemoryTrail();
    await using one = openExecutor({ url, trail: slow });
    await using two = openExecutor({ url, trail: new MemoryTrail() });
    const release = Promise.withResolvers<void>();
    slow.hold = release.promise;
    const [first, second] = [one, two].map(({ executor }) => new SqlSubjectStore(executor, { table: 'subject_keys' }));
    if (!first || !second) throw new Error('there are two');
    const erase = (store: SqlSubjectStore, mark: string) => {
      const subject = person();
      const events = [eventOf('subject.erased', { subject })];
      return store.erase({ realm: REALM, subject, mark, now: T0, events });
    };
    const held = erase(first, 'first');
    // Its rows are there, and nobody sees them before its event is durable.
    await vi.waitUntil(() => slow.asked > 0, { timeout: 20_000, interval: 5 });
    const late = erase(second, 'second');
    const seen: string[] = [];
    let position = 0;
    const follow = async () => {
      const fresh = await second.erasuresAfter(position, 10);
      position = fresh.at(-1)?.position ?? position;
      seen.push(...fresh.map(({ subjectRef }) => subjectRef));
    };
    for (let looks = 0; looks < 20; looks += 1) {
      await follow();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    release.resolve();
    expect(seen).toEqual([]);
    await Promise.all([held, late]);
    await follow();
    expect(seen).toEqual(['first', 'second']);
  });

  it('make a key for a person who has none, before they destroy it, so that their own event is unreadable too', async () => {
    const { url } = await newDatabase(server);
    await using sidecar = openExecutor({ url, trail: new MemoryTrail() });
    const subject = person();
    const calls: string[] = [];
    const keys: PersonKeys = {
      table: 'subject_keys',
      prepare: async (_realm, of) => {
        calls.push('prepared');
        // Another sidecar erases them right away, the first time.
        if (calls.length > 1) await makeKey(sidecar.executor, of);
      },
      destroyed: () => void calls.push('destroyed'),
    };
    const store = new SqlSubjectStore(sidecar.executor, keys);
    const events = [eventOf('subject.erased', { subject })];
    const erased = await store.erase({ realm: REALM, subject, mark: 'mark', now: T0, events });
    expect(erased).toMatchObject({ outcome: 'erased' });
    expect(calls).toEqual(['prepared', 'prepared', 'destroyed']);
    expect(await store.erasuresAfter(0, 10)).toHaveLength(2);
  });
});

function storesOver(executor: SqlExecutor, keys: PersonKeys): Stores {
  const sql = new NoticingExecutor(executor);
  return {
    ...plainStores(sql, keys),
    challenges: new SqlChallengeStore(sql),
    sessions: new SqlSessionStore(sql, new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom })),
  };
}

async function makeKey(sql: SqlExecutor, subject: string): Promise<void> {
  await sql.unit((tx) => tx.all('SELECT * FROM audit_subject_key($1, $2, $3, $4)', REALM, subject, digest(), bytes()));
}
