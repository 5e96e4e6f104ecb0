import { CentralChains } from '#src/adapters/central/central-chains.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { explained } from '#src/adapters/postgres/connection-failure.ts';
import { PostgresPool } from '#src/adapters/postgres/postgres-pool.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { Fault } from '../domain/faults.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import { type PostgresOptions, postgresOf } from './postgres-source.ts';

export interface CentralTrail {
  readonly database: TrailDatabase;
  readonly chains: CentralChains;
  /** `host:port/database`. */
  readonly place: string;
}

/** For a page, or for looking through a whole chain. */
const READ_MS = 600_000;
const CONNECT_MS = 10_000;

/**
 * Runs `work` on the trail in PostgreSQL, over one connection. What keeps it away becomes a sentence with an exit code:
 * 66 where there is no trail, 69 when the server is away, 78 for what the person has to change.
 */
export async function withCentralTrail<T>(
  options: PostgresOptions,
  purpose: string,
  io: Io,
  work: (trail: CentralTrail) => Promise<T>,
): Promise<T> {
  const settings = await postgresOf(options, purpose, io);
  const pool = new PostgresPool({
    client: settings.client,
    connections: 1,
    maxWaiting: 16,
    connectTimeoutMs: CONNECT_MS,
    failures: 1,
    probeMs: CONNECT_MS,
    clock: systemClock,
    random: systemRandom,
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  const database = new TrailDatabase({ pool });
  const chains = new CentralChains({ read: (sql, ...params) => database.read(READ_MS, sql, ...params) });
  try {
    const [row] = await database.ask(CONNECT_MS, `SELECT (to_regclass('audit_events') IS NOT NULL)::int AS there`);
    if (row?.['there'] !== 1)
      throw new CliError(EXIT.noInput, `there is no audit trail in ${settings.place}; run sallyport migrate first`);
    return await work({ database, chains, place: settings.place });
  } catch (error) {
    const why = error instanceof CliError ? error : explained(error, settings);
    if (why instanceof Fault && why.kind === 'precondition') throw new CliError(EXIT.config, why.message);
    if (why instanceof Fault && why.kind === 'not-found') throw new CliError(EXIT.usage, why.message);
    throw why;
  } finally {
    await pool.close();
  }
}
