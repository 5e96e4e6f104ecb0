import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DATABASE, ROLES } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet, type FleetOptions } from '../../support/fleet.ts';
import { balance } from '../../support/fleet-ledger.ts';
import { FleetLoad } from '../../support/fleet-load.ts';
import { PATIENT } from '../../support/patient-settings.ts';

interface Fault {
  readonly what: string;
  /** Takes PostgreSQL away. */
  readonly strike: (fleet: Fleet) => Promise<void>;
  readonly mend: (fleet: Fleet) => Promise<void>;
  /** For how long it is away. */
  readonly forMs: number;
  /** What it had not written it has forgotten, numbers of transactions too. Comes last, for what is uncertain stays so. */
  readonly loses?: boolean;
}

const OUTAGES: readonly Fault[] = [
  {
    what: 'frozen and thawed',
    strike: ({ postgres }) => postgres.freeze(),
    mend: ({ postgres }) => postgres.thaw(),
    forMs: 4_000,
  },
  {
    what: 'shut down fast and started again',
    strike: ({ postgres }) => postgres.stop(),
    mend: ({ postgres }) => postgres.restart(),
    forMs: 300,
  },
  {
    what: 'shut down the smart way, which lets nobody new in, and started again',
    // Waits for everybody to leave, so that a connection that breaks cannot come back.
    strike: async ({ postgres }) => {
      process.kill(postgres.pid, 'SIGTERM');
      await pause(100);
      await cutSessions(postgres);
    },
    mend: ({ postgres }) => postgres.restart(),
    forMs: 700,
  },
  {
    what: 'made read-only and writable again',
    strike: async ({ postgres }) => {
      await postgres.query(`ALTER DATABASE ${DATABASE} SET default_transaction_read_only = on`);
      await cutSessions(postgres);
    },
    mend: async ({ postgres }) => {
      await postgres.query(`ALTER DATABASE ${DATABASE} RESET default_transaction_read_only`);
    },
    forMs: 1_200,
  },
  {
    what: 'out of connections for our role, and with room again',
    strike: async ({ postgres }) => {
      await postgres.query(`ALTER ROLE ${ROLES.state} CONNECTION LIMIT 0`);
      await cutSessions(postgres);
    },
    mend: async ({ postgres }) => {
      await postgres.query(`ALTER ROLE ${ROLES.state} CONNECTION LIMIT -1`);
    },
    forMs: 1_200,
  },
  {
    what: 'cutting all connections again and again',
    strike: async ({ postgres }) => {
      for (let times = 0; times < 20; times += 1) {
        await cutSessions(postgres);
        await pause(80);
      }
    },
    mend: async () => {},
    forMs: 0,
  },
  {
    what: 'killed with SIGKILL and started again',
    strike: ({ postgres }) => postgres.kill(),
    mend: ({ postgres }) => postgres.restart(),
    forMs: 700,
    loses: true,
  },
];

const POOLER: readonly Fault[] = [
  {
    what: 'behind a pooler that is killed and started again',
    strike: async ({ pooler }) => pooler?.kill(),
    mend: async ({ pooler }) => pooler?.restart(),
    forMs: 700,
  },
  {
    what: 'behind a pooler that is frozen and thawed',
    strike: async ({ pooler }) => pooler?.freeze(),
    mend: async ({ pooler }) => pooler?.thaw(),
    forMs: 4_000,
  },
  {
    what: 'killed behind a pooler that stays',
    strike: ({ postgres }) => postgres.kill(),
    mend: ({ postgres }) => postgres.restart(),
    forMs: 700,
    loses: true,
  },
];

async function cutSessions(postgres: Fleet['postgres']): Promise<void> {
  await postgres
    .query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [ROLES.state])
    // In the middle of a shutdown nobody is let in to ask.
    .catch(() => []);
}

describe.each([
  ['directly', { settings: { MFA_ENABLED: 'false', ...PATIENT } }, OUTAGES],
  [
    'through a pooler',
    // It would keep away from a server that it could not reach for 15 s.
    { pooler: true, poolerSettings: { server_login_retry: '1' }, settings: { MFA_ENABLED: 'false', ...PATIENT } },
    POOLER,
  ],
] as const)('three sidecars on PostgreSQL %s', (_how, options: FleetOptions, faults) => {
  let fleet: Fleet;
  let load: FleetLoad;

  beforeAll(async () => {
    fleet = await Fleet.start(options);
    load = new FleetLoad(fleet);
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it.each(faults)(
    'lose no event and write none twice with PostgreSQL $what',
    async ({ strike, mend, forMs, loses = false }) => {
      const refusedBefore = load.refused;
      await load.during(async () => {
        await load.more(60);
        await strike(fleet);
        await pause(forMs);
        await mend(fleet);
        await eventually('all sidecars are whole again', () => isWhole(fleet), 15_000);
        await load.more(60);
      });
      expect(load.refused, 'the outage was felt').toBeGreaterThan(refusedBefore);
      expect(load.wrong).toEqual([]);
      await balance(fleet, load.acknowledged, { mayBeUncertain: loses });
    },
  );
});

async function isWhole(fleet: Fleet): Promise<boolean> {
  const degraded = await Promise.all(fleet.sidecars.map((sidecar) => sidecar.metric('sallyport_degraded')));
  return degraded.every((value) => value === 0);
}
