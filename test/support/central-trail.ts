import { randomBytes } from 'node:crypto';
import { Client, type QueryResultRow } from 'pg';
import { onTestFinished } from 'vitest';
import type { AuditFile, Backlog } from '#src/adapters/audit/contract.ts';
import { CentralChains } from '#src/adapters/central/central-chains.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { grantAccess } from '#src/adapters/postgres/grants.ts';
import { migrateDatabase } from '#src/adapters/postgres/migrate-runner.ts';
import { PostgresPool, type PostgresPoolOptions } from '#src/adapters/postgres/postgres-pool.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import type { ChainRow, Checkpoint, ExportItem } from '#src/ports/audit.ts';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';
import { SILENT } from './local-stores.ts';

export interface CentralTrail {
  /** As the owner of the tables, who may harm them. */
  sql<R extends QueryResultRow = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly R[]>;
  readonly urls: { readonly owner: string; readonly state: string; readonly audit: string };
  /** With the role of the state, which reads. */
  readonly reading: TrailDatabase;
  /** With the role that may only add. */
  readonly adding: TrailDatabase;
  readonly target: PostgresFlushTarget;
  readonly chains: CentralChains;
}

let made = 0;

/** A new database with the schema, and the two roles of a sidecar; gone after the test. */
export async function centralTrail(server: PostgresServer): Promise<CentralTrail> {
  made += 1;
  const name = `trail_${process.pid}_${made}`;
  const roles = { owner: `${name}_owner`, state: `${name}_state`, audit: `${name}_audit` };
  for (const role of Object.values(roles)) await server.createRole(role, randomBytes(12).toString('hex'));
  await server.createDatabase(name, roles.owner);
  const urls = {
    owner: server.url(name, roles.owner),
    state: server.url(name, roles.state),
    audit: server.url(name, roles.audit),
  };
  await migrateDatabase({
    settings: settingsOf(urls.owner),
    migrations: postgresMigrations,
    clock: systemClock,
    lockWaitMs: 10_000,
    afterwards: (tx) =>
      grantAccess(tx, [
        { role: roles.state, access: 'state' },
        { role: roles.audit, access: 'audit' },
      ]),
  });
  const client = new Client({ connectionString: urls.owner });
  // Tests take the server away.
  client.on('error', () => {});
  await client.connect();
  onTestFinished(() => client.end());
  const adding = new TrailDatabase({ pool: openPool(urls.audit, { connections: 1 }) });
  const reading = new TrailDatabase({ pool: openPool(urls.state) });
  return {
    sql: async <R extends QueryResultRow>(text: string, values: readonly unknown[] = []) =>
      (await client.query<R>(text, [...values])).rows,
    urls,
    reading,
    adding,
    target: new PostgresFlushTarget({ database: adding, timeoutMs: 10_000 }),
    chains: new CentralChains({ read: (sql, ...params) => reading.read(30_000, sql, ...params) }),
  };
}

function settingsOf(url: string) {
  return connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 });
}

/** Closed after the test. */
export function openPool(url: string, options: Partial<PostgresPoolOptions> = {}): PostgresPool {
  const pool = new PostgresPool({
    client: settingsOf(url).client,
    connections: 2,
    maxWaiting: 1_000,
    connectTimeoutMs: 5_000,
    failures: 1_000_000,
    probeMs: 50,
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
    ...options,
  });
  onTestFinished(() => pool.close());
  return pool;
}

/** All that is in an audit file, as the flush would bring it. */
export function backlogOf(file: AuditFile): Backlog {
  const items: ExportItem[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const page: { readonly items: readonly ExportItem[]; readonly next?: string } = file.exportPage(
      { chainId: '', from: 0, to: 0 },
      cursor,
    );
    items.push(...page.items);
    cursor = page.next;
  }
  return backlogOfItems(items);
}

/** Items of an export as a backlog. */
export function backlogOfItems(items: readonly ExportItem[]): Backlog {
  const rows = items.flatMap((item) => (item.kind === 'row' ? [item.row] : []));
  const checkpoints = items.flatMap((item) => (item.kind === 'checkpoint' ? [item.checkpoint] : []));
  const last = rows.at(-1)?.sequence ?? 0;
  const isNew = ({ sequence }: Checkpoint, at: number) =>
    // The newest one is said twice, the first time before its row.
    sequence <= last && checkpoints.findIndex((other) => other.sequence === sequence) === at;
  return {
    rows,
    checkpoints: checkpoints.filter(isNew),
    chains: items.flatMap((item) => (item.kind === 'chain' ? [item.chain] : [])),
    keys: items.flatMap((item) => (item.kind === 'key' ? [item.key] : [])),
    subjectKeys: [],
    waiting: { events: rows.length, bytes: 0, oldestAt: 0 },
  };
}

/** A part of a backlog: rows by their place in it, with the checkpoints among them. */
export function partOf(backlog: Backlog, from: number, to: number): Backlog {
  const rows = backlog.rows.slice(from, to);
  const numbers = new Set(rows.map(({ sequence }: ChainRow) => sequence));
  return { ...backlog, rows, checkpoints: backlog.checkpoints.filter(({ sequence }) => numbers.has(sequence)) };
}
