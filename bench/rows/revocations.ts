import { DATABASE, ROLES } from '../../scripts/servers/central-database.ts';
import type { Context, Measurement } from '../context.ts';
import { runScript, Script } from '../process.ts';
import { median, type Row } from '../row.ts';
import { Stores } from '../stores.ts';

interface Shares {
  readonly p50: number;
  readonly p99: number;
}

interface Result {
  /** From the moment the call is sent to the one sidecar until the other refuses. */
  readonly sent: Shares;
  /** From the moment it is answered. */
  readonly answered: Shares;
}

interface Way {
  readonly name: string;
  readonly redis: boolean;
  readonly goalMs: number;
  readonly lanes: number;
  /** So that revocations meet the looks of the other sidecar at any moment between two of them. */
  readonly spreadMs: number;
}

const WAYS: readonly Way[] = [
  { name: 'with Redis', redis: true, goalMs: 100, lanes: 2, spreadMs: 20 },
  { name: 'without Redis', redis: false, goalMs: 1_000, lanes: 8, spreadMs: 300 },
];

/**
 * A session revoked at one sidecar and refused at another that has it in memory, against bare servers that tell each other
 * of it in the same way.
 */
export const revocations: Measurement = {
  name: 'revocations',
  async measure(context) {
    const rows: Row[] = [];
    for (const way of WAYS) rows.push(...(await measured(context, way)));
    return rows;
  },
};

async function measured({ bare, quick, note }: Context, way: Way): Promise<readonly Row[]> {
  await using stores = await Stores.start({ redis: way.redis });
  await using a = await stores.sidecar();
  await using b = await stores.sidecar();
  const sharing = way.redis
    ? { SHARING_REDIS: String(stores.redis.port) }
    : { SHARING_POSTGRES: await bareTable(stores) };
  const servers = [new Script(bare('sharing'), [], sharing), new Script(bare('sharing'), [], sharing)] as const;
  try {
    const barePorts = [Number(await servers[0].line()), Number(await servers[1].line())];
    const run = (ports: readonly number[], count: number) =>
      runScript<Result>('bench/clients/revocations.ts', [...ports, count, way.lanes, way.spreadMs].map(String));
    const ours = [a.grpcPort, b.grpcPort];
    await run(ours, 20);
    await run(barePorts, 20);
    const count = quick ? 100 : 200;
    const results: { readonly ours: Result; readonly bare: Result }[] = [];
    for (let round = 0; round < (quick ? 1 : 3); round += 1) {
      const pair = { ours: await run(ours, count), bare: await run(barePorts, count) };
      results.push(pair);
      const { sent, answered } = pair.ours;
      note(
        `${way.name}: from sending p50 ${sent.p50.toFixed(1)} p99 ${sent.p99.toFixed(1)} ms, ` +
          `from the answer p50 ${answered.p50.toFixed(1)} p99 ${answered.p99.toFixed(1)} ms; bare p99 ${pair.bare.sent.p99.toFixed(1)} ms`,
      );
    }
    const row = (what: string, of: (result: Result) => number): Row => {
      const value = median(results.map((pair) => of(pair.ours)));
      return {
        name: `revoked at A, refused at B, ${way.name}, ${what}`,
        value,
        unit: 'ms',
        baseline: median(results.map((pair) => of(pair.bare))),
        ratio: median(results.map((pair) => of(pair.ours) / of(pair.bare))),
        goal: `≤ ${way.goalMs} ms`,
        met: value <= way.goalMs,
      };
    };
    return [row('p50', ({ sent }) => sent.p50), row('p99', ({ sent }) => sent.p99)];
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
}

/** Answers the URL of a role that may use it. */
async function bareTable({ postgres }: Stores): Promise<string> {
  const sql = 'CREATE TABLE bare_ends (position bigserial PRIMARY KEY, name text NOT NULL)';
  await postgres.query(sql, [], DATABASE);
  await postgres.query(`GRANT ALL ON bare_ends, bare_ends_position_seq TO ${ROLES.owner}`, [], DATABASE);
  return postgres.url(DATABASE, ROLES.owner);
}
