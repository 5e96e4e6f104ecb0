import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKeyRing, deriveSeed, formatKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { FAULT_EXIT } from '#src/cli/audit-faults.ts';
import { run } from '#src/cli/program.ts';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { auditBench } from '../support/audit-files.ts';
import { backlogOf, type CentralTrail, centralTrail } from '../support/central-trail.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingIo } from '../support/recording-io.ts';
import { temporaryFile } from '../support/settings-file.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const DAY = 86_400_000;
const ring = createKeyRing(new SeededRandom('fleet'));

async function sallyport(url: string, ...argv: string[]) {
  const io = new RecordingIo({ SALLYPORT_POSTGRES_URL: url, SALLYPORT_POSTGRES_TLS: 'off' });
  const code = await run(['audit', ...argv], io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

/** The trail of two sidecars, with twenty events each at these times. */
async function fleet(at: (index: number) => number = () => Date.now()): Promise<CentralTrail> {
  const trail = await centralTrail(server);
  for (const name of ['a', 'b']) {
    const bench = auditBench();
    bench.clock.setWall(at(0));
    const checkpointSeed = deriveSeed(ring, 'audit.checkpoint');
    const file = bench.open({ random: new SeededRandom(name), checkpointSeed });
    for (let index = 0; index < 20; index += 1) {
      bench.clock.setWall(at(index));
      file.stage([bench.draft({ at: at(index) })]);
      file.commit();
      if (index % 10 === 9) file.checkpoint(bench.clock.now());
    }
    await trail.target.store(backlogOf(file));
    file.close();
  }
  return trail;
}

function keyFile(of = ring): string {
  const path = temporaryFile(formatKeyRing(of), 'keys.json');
  chmodSync(path, 0o600);
  return path;
}

describe('sallyport audit verify --central', () => {
  it('says that the trail of all sidecars is intact, and one chain of it', async () => {
    const trail = await fleet();
    const rows = await trail.sql<{ rows: number; signed: number }>(
      'SELECT (SELECT count(*)::int FROM audit_events) AS rows, (SELECT count(*)::int FROM audit_checkpoints) AS signed',
    );
    expect(await sallyport(trail.urls.state, 'verify', '--central')).toEqual({
      code: 0,
      stdout: `intact: ${rows[0]?.rows} rows and ${rows[0]?.signed} checkpoints in 2 chains hold\n`,
      stderr: '',
    });
    const [chain] = await trail.sql<{ id: string }>('SELECT chain_id AS id FROM audit_chains LIMIT 1');
    const one = await sallyport(trail.urls.state, 'verify', '--central', '--chain', chain?.id ?? '', '--json');
    expect(one.code).toBe(0);
    expect(JSON.parse(one.stdout)).toMatchObject({ intact: true, rows: (rows[0]?.rows ?? 0) / 2, notes: [] });
    expect((await sallyport(trail.urls.state, 'verify', '--central', '--key-file', keyFile())).code).toBe(0);
  });

  it('ends with a code of its own for each kind of damage, as for a file', async () => {
    const trail = await fleet();
    const [chain] = await trail.sql<{ id: string }>('SELECT min(chain_id) AS id FROM audit_chains');
    const id = chain?.id;
    const seven = 'WHERE chain_id = $1 AND sequence = 7';
    const harm: Record<keyof typeof FAULT_EXIT, readonly string[]> = {
      EDITED: [`UPDATE audit_events SET record = '\\x08' ${seven}`],
      MISSING: [`DELETE FROM audit_events ${seven}`],
      REORDERED: [
        `UPDATE audit_events SET sequence = 70 ${seven}`,
        'UPDATE audit_events SET sequence = 7 WHERE chain_id = $1 AND sequence = 8',
        'UPDATE audit_events SET sequence = 8 WHERE chain_id = $1 AND sequence = 70',
      ],
      TRUNCATED: ['DELETE FROM audit_events WHERE chain_id = $1 AND sequence >= 7'],
      FORKED: [
        `INSERT INTO audit_events (chain_id, sequence, at, realm, type, outcome, subject_ref, challenge_id, session_id,
           factor_id, previous_hash, record, hash) SELECT chain_id, sequence, at + 1, realm, type, outcome, subject_ref,
           challenge_id, session_id, factor_id, previous_hash, record, hash FROM audit_events ${seven}`,
      ],
      SIGNATURE: [`UPDATE audit_checkpoints SET signature = '' WHERE chain_id = $1 AND sequence = 11`],
      UNREADABLE: [
        'ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY',
        'CREATE POLICY p ON audit_events USING (true)',
      ],
      LINK: ['DELETE FROM audit_chains WHERE chain_id = $1'],
    };
    const tables = ['audit_events', 'audit_checkpoints', 'audit_chains'];
    for (const table of tables) await trail.sql(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
    const rows: Partial<Record<string, number>> = { SIGNATURE: 11, UNREADABLE: 0, LINK: 0 };
    for (const [fault, statements] of Object.entries(harm)) {
      for (const sql of statements) await trail.sql(sql, sql.includes('$1') ? [id] : []);
      const machine = await sallyport(trail.urls.state, 'verify', '--central', '--json');
      expect(machine.code, fault).toBe(FAULT_EXIT[fault as keyof typeof FAULT_EXIT]);
      expect(JSON.parse(machine.stdout)).toMatchObject({ intact: false, fault, sequence: rows[fault] ?? 7 });
      expect((await sallyport(trail.urls.state, 'verify', '--central')).stdout).toContain(`DAMAGED (${fault})`);
      await trail.sql('ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY');
      for (const table of tables) {
        await trail.sql(`DELETE FROM ${table}`);
        await trail.sql(`INSERT INTO ${table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_${table}`);
      }
      expect((await sallyport(trail.urls.state, 'verify', '--central')).code, `after ${fault}`).toBe(0);
    }
  });

  it('trusts only the keys it is told to trust', async () => {
    const trail = await fleet();
    const other = keyFile(createKeyRing(new SeededRandom('other')));
    expect((await sallyport(trail.urls.state, 'verify', '--central', '--key-file', other)).code).toBe(
      FAULT_EXIT.SIGNATURE,
    );
    expect((await sallyport(trail.urls.state, 'verify', '--central', '--trust', 'f'.repeat(32))).code).toBe(
      FAULT_EXIT.SIGNATURE,
    );
  });

  it('says in a sentence what keeps it from looking', async () => {
    const trail = await fleet();
    const empty = await server.createDatabase(`empty_${process.pid}`);
    const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      [trail.urls.state, ['--chain', 'chn_no'], 2, /no such chain/],
      [trail.urls.state, ['--partial'], 2, /--partial is for exports/],
      [trail.urls.state, ['./somewhere'], 2, /takes no source/],
      [trail.urls.audit, [], 78, /audit role|may not do this/],
      [empty, [], 66, /no audit trail .* sallyport migrate/],
      [trail.urls.state.replace(/:\d+\//, ':1/'), [], 69, /there is no PostgreSQL at/],
      [trail.urls.state.replace(/:[^:@]+@/, ':wrong@'), [], 78, /refuses the password/],
    ];
    for (const [url, more, code, says] of cases) {
      const answer = await sallyport(url, 'verify', '--central', ...more);
      expect(answer.code, `${more} ${answer.stderr}`).toBe(code);
      expect(answer.stderr).toMatch(says);
      expect(answer.stderr.trim().split('\n')).toHaveLength(1);
      expect(answer.stderr).not.toContain(/:([^:@/]+)@/.exec(url)?.[1] ?? 'no password');
    }
    expect((await sallyport(trail.urls.state, 'verify', '--chain', 'x')).code).toBe(2);
  });
});

describe('sallyport audit export --central', () => {
  it('writes what verify accepts, and one chain or a stretch of it', async () => {
    const trail = await fleet();
    const folder = join(temporaryFile('', 'keep'), '..');
    const file = join(folder, 'trail.jsonl');
    expect(await sallyport(trail.urls.state, 'export', '--central', '-o', file)).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).not.toContain('user-');
    const whole = await sallyport('', 'verify', file);
    expect(whole).toMatchObject({ code: 0, stdout: expect.stringContaining('intact: 42 rows') });
    const [chain] = await trail.sql<{ id: string }>('SELECT chain_id AS id FROM audit_chains LIMIT 1');
    const some = ['--chain', chain?.id ?? '', '--from', '5', '--to', '11'];
    const stretch = await sallyport(trail.urls.state, 'export', '--central', ...some);
    const part = temporaryFile(stretch.stdout, 'part.jsonl');
    expect((await sallyport('', 'verify', part)).code).toBe(FAULT_EXIT.MISSING);
    expect(await sallyport('', 'verify', part, '--partial')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('intact: 7 rows'),
    });
    expect((await sallyport(trail.urls.state, 'export', '--central', '--chain', 'chn_no')).code).toBe(2);
    expect((await sallyport(trail.urls.state, 'export', '--central', '--address', 'x:1')).code).toBe(2);
  });
});

const monthAgo = (months: number) => {
  const now = new Date();
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - months, 1);
};
const dayOf = (at: number) => new Date(at).toISOString().slice(0, 10);

describe('sallyport audit partitions and prune', () => {
  it('lists the partitions and makes those of coming months', async () => {
    const trail = await fleet();
    const first = await sallyport(trail.urls.state, 'partitions', '--json');
    const list = JSON.parse(first.stdout) as { name: string; table: string; from?: string }[];
    expect(list.map(({ name }) => name)).toContain('audit_events_default');
    expect(list.some(({ from }) => from === new Date(monthAgo(0)).toISOString())).toBe(true);
    const made = await sallyport(trail.urls.audit, 'partitions', '--ahead', '6');
    expect(made).toMatchObject({ code: 0, stderr: expect.stringMatching(/^made \d+ partitions\n$/) });
    expect(made.stdout).toContain(new Date(monthAgo(-6)).toISOString().slice(0, 7));
    expect(made.stdout).toMatch(/audit_events_default +all other times +~0 rows +\d/);
    expect((await sallyport(trail.urls.audit, 'partitions', '--ahead', '6')).stderr).toBe(
      'there was nothing to make\n',
    );
  });

  it('takes out whole months, and verify begins behind them', async () => {
    const trail = await fleet((index) => (index < 10 ? monthAgo(3) + index : Date.now() - DAY + index));
    for (const table of ['audit_events', 'audit_checkpoints']) {
      await trail.sql(`CREATE TABLE moved AS SELECT * FROM ${table}_default`);
      await trail.sql(`DELETE FROM ${table}_default`);
      await trail.sql(
        `CREATE TABLE ${table}_old PARTITION OF ${table} FOR VALUES FROM (${monthAgo(3)}) TO (${monthAgo(2)})`,
      );
      await trail.sql(`INSERT INTO ${table} OVERRIDING SYSTEM VALUE SELECT * FROM moved`);
      await trail.sql('DROP TABLE moved');
    }
    const prune = (url: string, ...more: string[]) =>
      sallyport(url, 'prune', '--before', dayOf(monthAgo(2) + 10 * DAY), '--key-file', keyFile(), ...more);
    const dry = await prune(trail.urls.state, '--dry-run');
    expect(dry).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/would drop audit_events_old .*\n.*\n.*nothing was changed/),
    });
    expect((await sallyport(trail.urls.state, 'verify', '--central')).stdout).toContain('intact: 42 rows');
    expect(await prune(trail.urls.state)).toMatchObject({ code: 78, stderr: expect.stringContaining('does not own') });
    const done = await prune(trail.urls.owner);
    expect(done).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /dropped audit_events_old .*\ndropped audit_checkpoints_old .*\n.*2 chains begin at/,
      ),
    });
    expect(done.stderr).toContain('looked at 2 chains');
    const after = await sallyport(trail.urls.state, 'verify', '--central', '--key-file', keyFile());
    expect(after).toMatchObject({ code: 0, stdout: expect.stringContaining('intact: 20 rows') });
    expect(after.stdout).toContain('note: 2 chains begin where older events were pruned\n');
    const file = temporaryFile((await sallyport(trail.urls.state, 'export', '--central')).stdout, 'rest.jsonl');
    expect((await sallyport('', 'verify', file, '--partial')).code).toBe(0);
    expect((await prune(trail.urls.owner)).stdout).toMatch(/nothing is older than/);
    await trail.sql('DELETE FROM audit_prunes');
    expect((await sallyport(trail.urls.state, 'verify', '--central')).code).toBe(FAULT_EXIT.MISSING);
  });

  it('refuses what is no day, too young, or signed by a stranger', async () => {
    const trail = await fleet(() => monthAgo(4));
    const prune = (before: string, keys = keyFile()) =>
      sallyport(trail.urls.owner, 'prune', '--before', before, '--key-file', keys);
    for (const day of ['yesterday', '2026-13-01', '2026-1-1', dayOf(Date.now() + 40 * DAY), dayOf(monthAgo(0))])
      expect((await prune(day)).code, day).toBe(2);
    const stranger = keyFile(createKeyRing(new SeededRandom('other')));
    expect(await prune(dayOf(monthAgo(3)), stranger)).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('key ring'),
    });
    expect((await prune(dayOf(monthAgo(3)), '/nowhere/keys.json')).code).toBe(66);
    expect((await sallyport(trail.urls.owner, 'prune')).code).toBe(2);
    const [left] = await trail.sql<{ rows: number }>('SELECT count(*)::int AS rows FROM audit_events');
    expect(left?.rows).toBe(42);
  });
});
