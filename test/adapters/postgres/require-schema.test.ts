import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { grantAccess } from '#src/adapters/postgres/grants.ts';
import { migrateDatabase } from '#src/adapters/postgres/migrate-runner.ts';
import { requireRights, requireSchema, type SchemaRequirement } from '#src/adapters/postgres/require-schema.ts';
import type { Access } from '#src/adapters/postgres/rights.ts';
import { systemClock } from '#src/adapters/system.ts';
import { type Migration, postgresMigrations } from '#src/gen/sql/migrations.js';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { MemoryTrail } from '../../support/memory-trail.ts';
import { plainSql } from '../../support/postgres-sql.ts';
import { openExecutor } from '../../support/postgres-stores.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

let server: PostgresServer;
let made = 0;

beforeAll(async () => {
  server = await startPostgres();
  for (const role of ['owner', 'app', 'flush']) await server.createRole(role);
});
afterAll(() => server[Symbol.asyncDispose]());

function settingsOf(url: string) {
  return connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 });
}

async function database(
  migrations: readonly Migration[] | undefined,
  grants: readonly Access[] = ['state', 'audit'],
): Promise<string> {
  made += 1;
  const name = `db${made}`;
  const url = await server.createDatabase(name, 'owner');
  if (migrations === undefined) return name;
  await migrateDatabase({
    settings: settingsOf(url),
    migrations,
    clock: systemClock,
    lockWaitMs: 5_000,
    afterwards: (tx) =>
      grantAccess(
        tx,
        grants.map((access) => ({ role: 'app', access })),
      ),
  });
  return name;
}

async function check(name: string, more: Partial<SchemaRequirement> = {}, role = 'app') {
  const log = new RecordingLog();
  await using sql = await plainSql(server.url(name, role));
  const facts = await requireSchema({
    sql,
    at: settingsOf(server.url(name, role)),
    migrations: postgresMigrations,
    access: ['state', 'audit'],
    keyRingFingerprint: 'ring-1',
    clock: systemClock,
    log,
    ...more,
  });
  return { facts, log };
}

const extra: Migration = {
  version: postgresMigrations.length + 1,
  name: 'extra',
  checksum: 'c',
  statements: ['CREATE TABLE extra (id TEXT)'],
};

describe('a sidecar that starts', () => {
  it('takes a database that was migrated and granted, in silence', async () => {
    const { facts, log } = await check(await database(postgresMigrations));
    expect(facts.version).toBe(postgresMigrations.length);
    expect(Math.abs(facts.skewMs)).toBeLessThan(500);
    expect(log.lines).toEqual([]);
  });

  it.each([
    ['is empty', undefined, 'it is empty: run sallyport migrate'],
    [
      'lacks a migration',
      postgresMigrations.slice(0, -1),
      `its schema is at version ${postgresMigrations.length - 1}, and this sidecar needs version ${postgresMigrations.length}: run sallyport migrate`,
    ],
  ])('refuses a database that %s, and says what to run', async (_what, migrations, why) => {
    const name = await database(migrations, []);
    await server.query('GRANT SELECT ON ALL TABLES IN SCHEMA public TO app', [], name);
    await expect(check(name)).rejects.toMatchObject({ kind: 'precondition', message: expect.stringContaining(why) });
  });

  it('refuses a database of a newer release', async () => {
    const name = await database([...postgresMigrations, extra]);
    await expect(check(name)).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringMatching(/schema version \d+ \(extra\).*start the newer version again/),
    });
  });

  it('refuses a migration that was changed', async () => {
    const name = await database(postgresMigrations);
    await server.query(`UPDATE schema_migrations SET checksum = 'x' WHERE version = 1`, [], name);
    await expect(check(name)).rejects.toThrow('it was changed after it was applied');
  });

  it('never migrates by itself', async () => {
    const name = await database(undefined);
    await expect(check(name, {}, 'owner')).rejects.toThrow('it is empty');
    const tables = await server.query(`SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace`, [], name);
    expect(tables).toEqual([]);
  });

  it('names the command that gives its role the rights it lacks', async () => {
    const none = await database(postgresMigrations, []);
    await expect(check(none)).rejects.toThrow('the role app has no rights there: run sallyport migrate --grant-to app');
    const stateOnly = await database(postgresMigrations, ['state']);
    await expect(check(stateOnly)).rejects.toThrow(
      /the role app may not \w+ on audit_\w+.*: run sallyport migrate --grant-to app --grant-audit-to app/,
    );
    await expect(check(stateOnly, { access: ['state'] })).resolves.toBeDefined();
    await server.query('REVOKE DELETE ON sessions FROM app', [], stateOnly);
    await expect(check(stateOnly, { access: ['state'] })).rejects.toThrow('the role app may not DELETE on sessions');
  });

  it('warns when its role owns the schema', async () => {
    const { log } = await check(await database(postgresMigrations), {}, 'owner');
    expect(log.lines).toEqual([expect.stringMatching(/^warn .* owns the schema: .*"role":"owner"/)]);
  });

  it('leaves the mark of its key ring if it is the first, and refuses that of others', async () => {
    const name = await database(postgresMigrations);
    const rings = ['ring-1', 'ring-2', 'ring-3', 'ring-4'];
    const outcomes = await Promise.allSettled(rings.map((keyRingFingerprint) => check(name, { keyRingFingerprint })));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refused = outcomes.find((outcome) => outcome.status === 'rejected');
    expect(refused?.reason).toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(
        'sealed under another key ring: give every sidecar of the fleet the same key file',
      ),
    });
    const won = rings[outcomes.findIndex(({ status }) => status === 'fulfilled')] ?? '';
    await expect(check(name, { keyRingFingerprint: won })).resolves.toBeDefined();
  });

  it.each([9_000, -2_600])('warns when its clock is %d ms ahead of the database', async (ahead) => {
    const name = await database(postgresMigrations);
    const clock = { ...systemClock, now: () => systemClock.now() + ahead };
    const { facts, log } = await check(name, { clock });
    expect(Math.abs(facts.skewMs + ahead)).toBeLessThan(300);
    expect(log.lines).toEqual([expect.stringMatching(/^warn the clocks .* differ/)]);
    expect(log.lines[0]).toContain(`"skew_ms":${facts.skewMs}`);
  });

  it.each([
    [600_000, '600 s ahead of'],
    [-11_000, '11 s behind'],
  ])('refuses to judge lifetimes by a clock that is %d ms ahead of the database', async (ahead, told) => {
    const name = await database(postgresMigrations);
    const clock = { ...systemClock, now: () => systemClock.now() + ahead };
    await expect(check(name, { clock })).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(`the clock of this machine is ${told} that of PostgreSQL`),
    });
  });

  it('says nothing of a clock that is one second off', async () => {
    const clock = { ...systemClock, now: () => systemClock.now() + 1_000 };
    const { log } = await check(await database(postgresMigrations), { clock });
    expect(log.lines).toEqual([]);
  });

  it('takes the role of the flush with its own rights alone', async () => {
    const name = await database(postgresMigrations, ['audit']);
    await using sql = await plainSql(server.url(name, 'app'));
    await expect(requireRights(sql, ['audit'], new RecordingLog())).resolves.toBeUndefined();
    await expect(requireRights(sql, ['state'], new RecordingLog())).rejects.toThrow(
      /the role app may not \w+ on \w+: run sallyport migrate --grant-to app$/,
    );
  });

  it('explains over a pool why no connection can be made, for both roles', async () => {
    const name = await database(postgresMigrations);
    const url = server.url(name, 'app').replace(/:[^:@]+@/, ':wrong@');
    const why = { kind: 'precondition', message: expect.stringContaining('refuses the password of the role app') };
    await using state = openExecutor({ url, trail: new MemoryTrail() });
    await expect(check(name, { sql: state.executor })).rejects.toMatchObject(why);
    await using audit = openExecutor({ url, trail: new MemoryTrail() });
    await expect(requireRights(audit.executor, ['audit'], new RecordingLog(), settingsOf(url))).rejects.toMatchObject(
      why,
    );
  });

  it('explains a statement that is refused, also when the executor has wrapped the error', async () => {
    const name = await database(postgresMigrations);
    await using sql = await plainSql(server.url(name, 'app'));
    const wrapped = {
      unit: sql.unit,
      read: async () => {
        const cause = Object.assign(new Error('password authentication failed'), { code: '28P01' });
        throw new Error('the store failed', { cause: new Error('unreachable', { cause }) });
      },
    };
    await expect(check(name, { sql: wrapped })).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('refuses the password of the role app: correct it in the URL'),
    });
  });
});

it('warns of a server that forgets what it has acknowledged', async () => {
  const name = await database(postgresMigrations);
  await server.query(`ALTER ROLE app SET synchronous_commit = off`);
  const { log } = await check(name);
  await server.query(`ALTER ROLE app RESET synchronous_commit`);
  expect(log.lines).toEqual([expect.stringMatching(/^warn synchronous_commit is off/)]);
});
