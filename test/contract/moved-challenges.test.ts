import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { MemorySql } from '../support/memory-sql.ts';
import { MemoryTrail } from '../support/memory-trail.ts';
import { newDatabase, openExecutor } from '../support/postgres-stores.ts';
import { challengeOf, REALM, T0 } from '../support/store-samples.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

interface Database extends AsyncDisposable {
  readonly sql: SqlExecutor;
}

const engines: Readonly<Record<string, () => Promise<Database>>> = {
  SQLite: async () => {
    const sql = new MemorySql([]);
    return { sql, [Symbol.asyncDispose]: async () => void sql.db.close() };
  },
  PostgreSQL: async () => {
    const { url } = await newDatabase(server);
    const opened = openExecutor({ url, trail: new MemoryTrail() });
    return { sql: opened.executor, [Symbol.asyncDispose]: opened.close };
  },
};

describe.each(Object.entries(engines))('challenges that somebody follows, on %s', (_, make) => {
  it('are found once they moved, of those that were asked for, however many these are', async () => {
    await using database = await make();
    const store = new SqlChallengeStore(database.sql);
    const [open, seen, chosen, cancelled, other] = await Promise.all(
      [1, 2, 3, 4, 5].map(async () => {
        const challenge = challengeOf();
        await store.open({ challenge, maxOpen: 10, events: [] });
        return challenge.id;
      }),
    );
    const at = { realm: REALM, now: T0 } as const;
    await store.advance({ ...at, challengeId: seen ?? '', to: 'SEEN' });
    await store.advance({ ...at, challengeId: chosen ?? '', to: 'PENDING', chosenMethod: 'totp' });
    for (const id of [cancelled, other]) {
      await store.settle({ ...at, challengeId: id ?? '', to: 'CANCELLED', events: [] });
    }
    const asked = [open, seen, chosen, cancelled].map((id) => id ?? '');
    const moved = await store.movedAmong(asked);
    expect(new Map(moved.map(({ id, state }) => [id, state]))).toEqual(
      new Map([
        [seen, 'SEEN'],
        [chosen, 'PENDING'],
        [cancelled, 'CANCELLED'],
      ]),
    );
    const unknown = Array.from({ length: 997 }, (__, index) => `chl_unknown${index}`);
    expect(await store.movedAmong([...unknown, ...asked])).toHaveLength(3);
    expect(await store.movedAmong([])).toEqual([]);
    expect(await store.movedAmong([open ?? ''])).toEqual([]);
  });
});
