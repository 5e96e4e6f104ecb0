import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { PostgresSubjectKeys } from '#src/adapters/central/subject-keys.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { type Pgbouncer, startPgbouncer } from '../../../scripts/servers/pgbouncer.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';
import { backlogOf, centralTrail, openPool, partOf } from '../../support/central-trail.ts';
import { SeededRandom } from '../../support/random.ts';

let server: PostgresServer;
let pooler: Pgbouncer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await pooler?.[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

describe('the central trail through a pooler in transaction mode', () => {
  it('takes flushes of many sidecars over two server connections, and leaves nothing behind in them', async () => {
    const trail = await centralTrail(server);
    pooler = await startPgbouncer({ postgres: server, poolSize: 2 });
    const name = new URL(trail.urls.audit).pathname.slice(1);
    const through = (role: string) => new TrailDatabase({ pool: openPool(pooler.url(name, role), { connections: 1 }) });
    const backlogs = Array.from({ length: 6 }, (_, index) => {
      const bench = auditBench();
      const file = bench.open({ random: new SeededRandom(`sidecar ${index}`) });
      writeEvents(bench, file, 40);
      file.checkpoint(bench.clock.now());
      const backlog = backlogOf(file);
      file.close();
      return backlog;
    });
    const database = through(`${name}_audit`);
    await Promise.all(
      backlogs.map(async (backlog) => {
        const target = new PostgresFlushTarget({ database: through(`${name}_audit`), timeoutMs: 10_000 });
        await target.prepare();
        for (let from = 0; from < backlog.rows.length; from += 10)
          expect(await target.store(partOf(backlog, from, from + 10))).toEqual({ outcome: 'stored' });
        const last = backlog.rows.at(-1);
        expect(await target.head(last?.chainId ?? '')).toMatchObject({ sequence: last?.sequence });
      }),
    );
    const keys = new PostgresSubjectKeys({
      database,
      secrets: new AesGcmSecretBox({ ring: createKeyRing(new SeededRandom('ring')), random: systemRandom }),
      random: systemRandom,
      clock: systemClock,
      timeoutMs: 5_000,
      maxCached: 1,
      maxAgeMs: 0,
    });
    expect((await keys.of('default', 'kim')).ref).toBe((await keys.of('default', 'kim')).ref);
    const { verdict } = await verifyCentral(trail.chains, { chainId: '' });
    expect(verdict).toMatchObject({ intact: true, rows: 6 * 41 });
    for (const setting of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'])
      expect(await database.ask(5_000, `SELECT current_setting('${setting}') AS value`)).toEqual([{ value: '0' }]);
    const locks = await trail.sql(`SELECT 1 FROM pg_locks WHERE locktype = 'advisory'`);
    expect(locks).toEqual([]);
    const [servers] = await trail.sql<{ count: number }>(
      'SELECT count(*)::int AS count FROM pg_stat_activity WHERE usename = $1',
      [`${name}_audit`],
    );
    expect(servers?.count).toBeLessThanOrEqual(2);
  });
});
