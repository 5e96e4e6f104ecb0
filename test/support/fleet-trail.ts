import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseRecord } from '#src/adapters/audit/record.ts';
import type { Verdict } from '#src/ports/audit.ts';
import { DATABASE, ROLES } from '../../scripts/servers/central-database.ts';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';
import { eventually } from './eventually.ts';
import type { Fleet } from './fleet.ts';
import { projectRoot } from './sidecar.ts';

const run = promisify(execFile);

/** An event as PostgreSQL holds it, without the personal part. */
export interface CentralEvent {
  readonly chainId: string;
  readonly sequence: number;
  readonly id: string;
  readonly type: string;
  readonly sessionId: string;
  readonly challengeId: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** All events of all sidecars, read from the tables and not by the code that serves them. */
export async function centralEvents(postgres: PostgresServer): Promise<readonly CentralEvent[]> {
  const rows = await postgres.query<{ chain_id: string; sequence: string; record: Buffer }>(
    'SELECT chain_id, sequence, record FROM audit_events ORDER BY chain_id, sequence',
    [],
    DATABASE,
  );
  return rows.map(({ chain_id, sequence, record }) => {
    const { id, type, sessionId, challengeId, facts } = parseRecord(record);
    const named = Object.fromEntries(facts.map(({ key, value }) => [key, value]));
    return { chainId: chain_id, sequence: Number(sequence), id, type, sessionId, challengeId, facts: named };
  });
}

/** The ids of events that some `audit.unconfirmed` calls uncertain. */
export function namedUncertain(events: readonly CentralEvent[]): ReadonlySet<string> {
  return new Set(
    events
      .filter(({ type }) => type === 'audit.unconfirmed')
      .flatMap(({ facts }) => Object.entries(facts))
      .flatMap(([key, value]) => (key.startsWith('event_ids_') ? value.split(',') : [])),
  );
}

/** Resolves when all that is durable on the disks of the running sidecars is in PostgreSQL. */
export async function whenFlushed(fleet: Fleet, limitMs = 30_000): Promise<void> {
  for (const [index, { child }] of fleet.sidecars.entries()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    await eventually(`sidecar ${index} has flushed its events`, () => isFlushed(fleet, index), limitMs);
  }
}

async function isFlushed(fleet: Fleet, index: number): Promise<boolean> {
  const { durable, flushed } = await bufferOf(fleet, index);
  return durable > 0 && flushed === durable;
}

/** How the local buffer of one sidecar is, by its metrics; a probe first, since they show what was read last. */
export async function bufferOf(fleet: Fleet, index: number) {
  const { adminUrl } = fleet.sidecar(index);
  await fetch(`${adminUrl}/readyz`).then((answer) => answer.text());
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  const gauge = (name: string) => Number(new RegExp(`^sallyport_audit_${name} (.*)$`, 'm').exec(text)?.[1] ?? 'NaN');
  return { durable: gauge('durable_sequence'), flushed: gauge('flushed_sequence'), bytes: gauge('buffer_bytes') };
}

/** Has the built program verify all chains as a person would. Throws with what it said when its exit code is not 0. */
export async function verifyTrail(fleet: Fleet): Promise<Verdict> {
  const args = ['audit', 'verify', '--central', '--json'];
  const { stdout } = await run(process.execPath, [join(projectRoot, 'dist/main.mjs'), ...args], {
    cwd: fleet.sidecar(0).dataDir,
    env: {
      PATH: process.env['PATH'] ?? '',
      SALLYPORT_POSTGRES_URL: fleet.postgres.url(DATABASE, ROLES.state),
      SALLYPORT_POSTGRES_TLS: 'off',
    },
  });
  return JSON.parse(stdout) as Verdict;
}
