import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OUTAGES, type Outage } from '#src/domain/outage.ts';
import { SECOND } from '#src/domain/time.ts';
import { codeAt, stepAt } from '#src/domain/totp.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '#src/gen/health/v1/health_pb.js';
import { AdminService, RunMode } from '#src/gen/sallyport/v1/admin_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { methodOf } from '../../support/api-calls.ts';
import { eventually } from '../../support/eventually.ts';
import { decodeBase32 } from '../../support/factor-world.ts';
import { Fleet } from '../../support/fleet.ts';
import { BY_SENSITIVITY, type OutageCalls, prepareOutageCalls } from '../../support/outage-calls.ts';
import { AWAY, DEFAULT_LIMITS, outageCells, STRICT_LIMITS } from '../../support/outage-cells.ts';
import { PATIENT } from '../../support/patient-settings.ts';
import { RunningTime } from '../../support/running-time.ts';
import { apiOver, type WireAnswer, WireClient } from '../../support/wire-answers.ts';

/**
 * RPCs whose request holds a code, by the step of the first code that their authenticators are asked for; the next one is of
 * the step after. What waits in the request is of the coming step, so that it is right for a minute. All others use two
 * codes at most in their preparation, which are right whenever the step ends.
 */
const FIRST_STEP: Readonly<Record<string, number>> = {
  'FactorService/ConfirmEnrollment': 1,
  'ChallengeService/AnswerChallenge': 0,
};

/** Every RPC of every cell at the beginning of the outage; those that do not say what they are for once per outage. */
function cellsOf(outage: Outage, limits: typeof DEFAULT_LIMITS) {
  return outageCells(limits)
    .filter((cell) => cell.outage === outage && cell.awayMs === 0)
    .flatMap((cell) => cell.rpcs.map((rpc) => ({ ...cell, rpc })))
    .filter(
      ({ rpc, sensitivity }) => BY_SENSITIVITY.has(rpc) || (sensitivity === 'normal' && limits === DEFAULT_LIMITS),
    )
    .map((cell) => ({ ...cell, name: `${cell.rpc}, ${cell.sensitivity}` }));
}

/** Codes of steps that follow one another, from the present one or the coming one on. */
function authenticatorFor(rpc: string) {
  return (secret: string) => {
    let last = 0;
    return () => {
      last = last === 0 ? stepAt(Date.now()) + (FIRST_STEP[rpc] ?? 0) : last + 1;
      return codeAt(decodeBase32(secret), last);
    };
  };
}

async function strike(fleet: Fleet, outage: Outage): Promise<void> {
  if (outage !== 'redis') await fleet.postgres.kill();
  if (outage !== 'postgres') await fleet.redis.kill();
}

async function mend(fleet: Fleet, outage: Outage): Promise<void> {
  if (outage !== 'redis') await fleet.postgres.restart();
  if (outage !== 'postgres') await fleet.redis.restart();
}

/** What was prepared is to be good after the outage, however long it took to get there. */
const LASTING = { MFA_TIMEOUT_SECONDS: '600', SALLYPORT_CHALLENGE_RECEIPT_TTL: '10m' };

const SETTINGS = {
  defaults: { limits: DEFAULT_LIMITS, settings: {} },
  'stricter settings': {
    limits: STRICT_LIMITS,
    settings: {
      SALLYPORT_OUTAGE_POSTGRES_LOW: '30s',
      SALLYPORT_OUTAGE_POSTGRES_NORMAL: '10s',
      SALLYPORT_OUTAGE_POSTGRES_SENSITIVE: '0s',
      SALLYPORT_OUTAGE_POSTGRES_CRITICAL: '0s',
      SALLYPORT_OUTAGE_REDIS_SENSITIVE: 'refuse',
      SALLYPORT_OUTAGE_REDIS_CRITICAL: 'refuse',
    },
  },
} as const;

describe.each(Object.entries(SETTINGS))('the outage table with real servers and %s', (_name, { limits, settings }) => {
  let fleet: Fleet;
  let wire: WireClient;
  let elsewhere: WireClient;

  const ask = (client: WireClient, rpc: string, request: Record<string, unknown>) =>
    client.call(methodOf(rpc), request);
  const info = () => fleet.client(0).unary(AdminService.method.getInfo, {});
  const health = async (service: string) => (await fleet.client(0).unary(Health.method.check, { service })).status;
  const page = async (path: string) => {
    const answer = await fetch(`${fleet.sidecar(0).adminUrl}${path}`);
    return { status: answer.status, text: await answer.text() };
  };

  beforeAll(async () => {
    fleet = await Fleet.start({ sidecars: 2, settings: { ...PATIENT, ...LASTING, ...settings } });
    const headers = { 'x-sallyport-client': 'outages', authorization: `Bearer ${fleet.sidecar(0).operatorToken}` };
    wire = new WireClient(fleet.sidecar(0).grpcAddress, headers);
    elsewhere = new WireClient(fleet.sidecar(1).grpcAddress, headers);
  });
  afterAll(async () => {
    wire.close();
    elsewhere.close();
    await fleet[Symbol.asyncDispose]();
  });

  describe.each(OUTAGES)('without %s', (outage) => {
    const cells = cellsOf(outage, limits);
    const away = AWAY[outage].join(',');
    const calls = new Map<string, OutageCalls>();
    const prepared = (rpc: string) => {
      const known = calls.get(rpc);
      if (!known) throw new Error(`${rpc} was not prepared`);
      return known;
    };
    const again = ({ rpc, sensitivity }: (typeof cells)[number]): Promise<WireAnswer> =>
      ask(wire, rpc, prepared(rpc).request(rpc, sensitivity));

    beforeAll(async () => {
      const api = apiOver(fleet.operator(0));
      const prepare = async (rpcs: Iterable<string>) => {
        for (const rpc of rpcs) {
          const suffix = `-${outage}-${rpc.replace('/', '-').toLowerCase()}`;
          calls.set(rpc, await prepareOutageCalls(api, rpc, { authenticator: authenticatorFor(rpc), suffix }));
        }
      };
      const rpcs = new Set(cells.map((cell) => cell.rpc));
      const withCode = rpcs.intersection(new Set(Object.keys(FIRST_STEP)));
      // Several at a time share what is left; a code in a request is to be young.
      const others = rpcs.difference(withCode).values();
      await Promise.all([prepare(others), prepare(others), prepare(others), prepare(others)]);
      await prepare(withCode);
      await strike(fleet, outage);
      // Nobody has to call for it to be noticed.
      const degraded = (index: number) => fleet.sidecar(index).metric('sallyport_degraded');
      await eventually('both sidecars notice', async () => (await degraded(0)) + (await degraded(1)) === 2, 10_000);
      await eventually('all that is away is named', async () => (await info()).degraded.join(',') === away);
    });

    it.each(cells)('$name: $course', async (cell) => {
      using time = new RunningTime();
      const answer = await again(cell);
      // Far above what it takes, far below what waiting for a server that is away would take.
      expect(time.ms, 'milliseconds').toBeLessThan(3_000);
      expect(answer.degraded).toBe(away);
      if (cell.course === 'goes_on') {
        expect(answer).toMatchObject({ code: status.OK });
        return;
      }
      expect(answer).toMatchObject({ code: status.UNAVAILABLE, reason: 'STORE_UNAVAILABLE' });
      expect(away.split(',')).toEqual(
        expect.arrayContaining(answer.metadata['dependency']?.split(',') ?? ['none named']),
      );
      expect(answer.retryMs).toBeGreaterThanOrEqual(SECOND);
      if (cell.course === 'effect_first') {
        expect(answer.metadata).toMatchObject({ inForce: 'true' });
        const { token, revokedToken } = prepared(cell.rpc);
        // On every sidecar, not only where it was asked for.
        for (const client of [wire, elsewhere]) {
          const refused = await ask(client, 'SessionService/ValidateSession', { token: revokedToken });
          expect(refused).toMatchObject({ code: status.UNAUTHENTICATED, reason: 'SESSION_INVALID' });
          const good = await ask(client, 'SessionService/ValidateSession', { token });
          expect(good).toMatchObject({ code: status.OK });
        }
      }
    });

    it('shows in GetInfo, readiness, health over gRPC and metrics, and never in liveness', async () => {
      const ready = outage !== 'both';
      const shown = await info();
      expect(shown).toMatchObject({ mode: RunMode.DEGRADED, degraded: AWAY[outage] });
      expect(shown.dependencies.map(({ name, up }) => [name, up])).toEqual([
        ['redis', outage === 'postgres'],
        ['postgres', outage === 'redis'],
      ]);
      const readiness = await page('/readyz');
      expect(readiness.status).toBe(ready ? 200 : 503);
      for (const name of AWAY[outage]) expect(readiness.text).toContain(`degraded: ${name} is away for `);
      expect((await page('/livez')).status).toBe(200);
      const serving = ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
      await eventually('health follows', async () => (await health('readiness')) === serving, 2_000);
      expect(await health(SessionService.typeName)).toBe(serving);
      expect(await health('liveness')).toBe(ServingStatus.SERVING);
      for (const name of ['redis', 'postgres'] as const) {
        const up = await fleet.sidecar(0).metric(`sallyport_dependency_up{dependency="${name}"}`);
        expect(up, name).toBe(AWAY[outage].includes(name) ? 0 : 1);
      }
    });

    it('ends without a restart, and nothing was spent or half done: the same calls succeed', async () => {
      const pids = fleet.sidecars.map(({ child }) => child.pid);
      await mend(fleet, outage);
      await eventually('all is back', async () => (await info()).mode === RunMode.SHARED, 10_000);
      expect((await page('/readyz')).text).not.toContain('degraded');
      await eventually('health is back', async () => (await health('readiness')) === ServingStatus.SERVING, 2_000);
      // Where sessions may have been ended unheard, their sidecars have a moment to say so.
      const { token } = prepared('SessionService/ValidateSession');
      const isGood = async () => (await ask(wire, 'SessionService/ValidateSession', { token })).code === status.OK;
      await eventually('sessions are judged again', isGood, outage === 'both' ? 10_000 : 5_000);
      for (const cell of cells.filter(({ course }) => course !== 'goes_on')) {
        const answer = await again(cell);
        expect(answer, cell.name).toMatchObject({ code: status.OK, degraded: '' });
      }
      expect(fleet.sidecars.map(({ child }) => [child.pid, child.exitCode])).toEqual(pids.map((pid) => [pid, null]));
    });
  });
});
