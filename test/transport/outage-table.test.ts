import { describe, expect, it } from 'vitest';
import { loadSettings } from '#src/config/load.ts';
import { Fault } from '#src/domain/faults.ts';
import { SECOND } from '#src/domain/time.ts';
import { codeAt, stepAt } from '#src/domain/totp.ts';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { type ApiCalls, methodOf } from '../support/api-calls.ts';
import { auditBench } from '../support/audit-files.ts';
import { AuditLogOverFile } from '../support/audit-log-over-file.ts';
import { decodeBase32 } from '../support/factor-world.ts';
import { fakeSharedState } from '../support/fake-shared-state.ts';
import { BY_SENSITIVITY, prepareOutageCalls } from '../support/outage-calls.ts';
import { DEFAULT_LIMITS, outageCells, STRICT_LIMITS } from '../support/outage-cells.ts';

const { config } = await loadSettings({ env: {} });

/** Every RPC of every cell; those that do not say what they are for once per cell. */
const cells = [DEFAULT_LIMITS, STRICT_LIMITS].flatMap((limits) =>
  outageCells(limits).flatMap((cell) =>
    cell.rpcs
      .filter((rpc) => (BY_SENSITIVITY.has(rpc) ? true : cell.sensitivity === 'normal' && limits === DEFAULT_LIMITS))
      .map((rpc) => ({ ...cell, rpc, without: cell.away.join(' and ') })),
  ),
);

async function world(limits: typeof DEFAULT_LIMITS, rpc: string) {
  const bench = auditBench();
  const state = fakeSharedState(config, new AuditLogOverFile(bench.open()), limits);
  const { clock, api } = state;
  const calls = await prepareOutageCalls(api, rpc, {
    authenticator: (secret) => () => {
      // Another step, since each is good once.
      clock.advance(30 * SECOND);
      return codeAt(decodeBase32(secret), stepAt(clock.now()));
    },
  });
  return { ...state, calls };
}

type Request = Record<string, unknown>;

async function faultOf(api: ApiCalls, rpc: string, request: Request): Promise<Fault | undefined> {
  const method = methodOf(rpc);
  const call = method.methodKind === 'unary' ? api.unary(method, request) : api.first(method, request);
  const thrown: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (thrown === undefined || thrown instanceof Fault) return thrown;
  throw thrown;
}

describe('every RPC in every outage', () => {
  it.each(cells)('$rpc, $sensitivity, without $without for $awayMs ms: $course', async (cell) => {
    const { rpc, sensitivity, course } = cell;
    const { api, calls, clock, dependencies } = await world(cell.limits, rpc);
    const again = () => faultOf(api, rpc, calls.request(rpc, sensitivity));
    dependencies.leave(...cell.away);
    clock.advance(cell.awayMs);
    const fault = await again();
    if (course === 'goes_on') {
      expect(fault).toBeUndefined();
      return;
    }
    expect(fault).toMatchObject({ kind: 'unavailable', reason: 'STORE_UNAVAILABLE' });
    expect(fault?.details.retryAfterMs).toBeGreaterThanOrEqual(SECOND);
    if (course === 'effect_first') {
      const known = await faultOf(api, 'SessionService/ValidateSession', { token: calls.token });
      const revoked = await faultOf(api, 'SessionService/ValidateSession', { token: calls.revokedToken });
      expect([known, revoked]).toMatchObject([undefined, { kind: 'unauthenticated', reason: 'SESSION_INVALID' }]);
    }
    // Nothing was spent or half done: the same call succeeds once all is back, without a restart.
    dependencies.comeBack(...cell.away);
    expect(await again()).toBeUndefined();
  });

  it('is a call that succeeds while nothing is away', async () => {
    for (const rpc of new Set(cells.map((cell) => cell.rpc))) {
      const { api, calls } = await world(DEFAULT_LIMITS, rpc);
      expect(await faultOf(api, rpc, calls.request(rpc, 'normal')), rpc).toBeUndefined();
    }
  });

  it('has a session that is not known refused without PostgreSQL, rather than called bad', async () => {
    const { api, dependencies } = await world(DEFAULT_LIMITS, 'SessionService/ValidateSession');
    const { token } = await api.unary(SessionService.method.createSession, { subject: 'cleo' });
    dependencies.leave('redis', 'postgres');
    expect(await faultOf(api, 'SessionService/ValidateSession', { token })).toMatchObject({ kind: 'unavailable' });
  });

  it('has a malformed token called bad all the same', async () => {
    const { api, dependencies } = await world(DEFAULT_LIMITS, 'SessionService/ValidateSession');
    dependencies.leave('redis', 'postgres');
    expect(await faultOf(api, 'SessionService/ValidateSession', { token: 'x' })).toMatchObject({
      kind: 'unauthenticated',
    });
  });
});
