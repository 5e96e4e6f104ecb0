import { parseRecord } from '#src/adapters/audit/record.ts';
import { CentralChains } from '#src/adapters/central/central-chains.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { type CentralVerdict, verifyCentral } from '#src/adapters/central/verify-central.ts';
import { DATABASE, ROLES } from '../../scripts/servers/central-database.ts';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';
import { openPool } from './central-trail.ts';
import { eventually } from './eventually.ts';
import type { Fleet } from './fleet.ts';

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

/** Checks every chain over a connection of its own. To be called in a test. */
export function verifyTrail(postgres: PostgresServer): Promise<CentralVerdict> {
  const database = new TrailDatabase({ pool: openPool(postgres.url(DATABASE, ROLES.owner)) });
  const chains = new CentralChains({ read: (sql, ...params) => database.read(60_000, sql, ...params) });
  return verifyCentral(chains, { chainId: '' });
}
