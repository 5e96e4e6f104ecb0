import { create, type MessageInitShape, type MessageShape, toJson } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { GetInfoRequestSchema, GetInfoResponseSchema } from '#src/gen/sallyport/v1/admin_pb.js';
import type { DependencyName } from '#src/ports/dependencies.ts';
import { Trail } from '#src/services/trail.ts';
import type { CallContext } from '#src/transport/call.ts';
import { adminHandlers } from '#src/transport/handlers/admin.ts';
import { ManualClock } from '../../support/clock.ts';
import { outageWorld } from '../../support/fake-dependencies.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingAudit } from '../../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../../support/recording-telemetry.ts';
import { APPLICATION } from '../../support/session-world.ts';

const CALL: CallContext = {
  caller: APPLICATION,
  protocol: 'grpc',
  procedure: '/test',
  signal: new AbortController().signal,
  ended: undefined,
  remainingMs: () => 1_000,
};

const unasked = () => Promise.reject(new Error('GetInfo does nothing to anybody'));

function served(names: readonly DependencyName[]) {
  const clock = new ManualClock(Date.UTC(2026, 0, 15, 12, 0, 0));
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const audit = new RecordingAudit();
  const random = new SeededRandom('admin');
  const trail = new Trail({ audit, clock, random, metrics, log, foldMs: 1_000, maxFolding: 10 });
  const { dependencies, outages } = outageWorld({ trail, clock, metrics, log }, names);
  const handlers = adminHandlers({
    operations: { reset: unasked, unlock: unasked },
    outages,
    realms: { names: new Set(['default', 'shop']), defaultRealm: 'default' },
    info: {
      version: '1.2.3',
      startedAt: clock.now(),
      mfaEnabled: true,
      methods: ['totp'],
      chainId: async () => 'chn_1',
    },
  });
  const info = async () => {
    const answer: MessageInitShape<typeof GetInfoResponseSchema> = await handlers.getInfo(
      create(GetInfoRequestSchema),
      CALL,
    );
    const whole: MessageShape<typeof GetInfoResponseSchema> = create(GetInfoResponseSchema, answer);
    return toJson(GetInfoResponseSchema, whole);
  };
  return { clock, dependencies, info };
}

const UP = '2026-01-15T12:00:00Z';

describe('GetInfo', () => {
  it('says that an embedded sidecar is embedded, and depends on nothing', async () => {
    expect(await served([]).info()).toEqual({
      version: '1.2.3',
      mode: 'RUN_MODE_EMBEDDED',
      startTime: UP,
      realms: ['default', 'shop'],
      mfaEnabled: true,
      methods: ['METHOD_TOTP'],
      auditChainId: 'chn_1',
    });
  });

  it('says what a shared sidecar depends on and since when each is up', async () => {
    expect(await served(['redis', 'postgres']).info()).toMatchObject({
      mode: 'RUN_MODE_SHARED',
      dependencies: [
        { name: 'redis', up: true, sinceTime: UP },
        { name: 'postgres', up: true, sinceTime: UP },
      ],
    });
  });

  it('says what is away and since when, and forgets it when it is back', async () => {
    const { clock, dependencies, info } = served(['redis', 'postgres']);
    clock.advance(61_000);
    dependencies.leave('redis', 'postgres');
    expect(await info()).toMatchObject({
      mode: 'RUN_MODE_DEGRADED',
      degraded: ['redis', 'postgres'],
      dependencies: [
        { name: 'redis', sinceTime: '2026-01-15T12:01:01Z' },
        { name: 'postgres', sinceTime: '2026-01-15T12:01:01Z' },
      ],
    });
    dependencies.comeBack('postgres');
    expect(await info()).toMatchObject({ mode: 'RUN_MODE_DEGRADED', degraded: ['redis'] });
    clock.advance(1_000);
    dependencies.comeBack('redis');
    const back = await info();
    expect(back).toMatchObject({
      mode: 'RUN_MODE_SHARED',
      dependencies: [{ up: true, sinceTime: '2026-01-15T12:01:02Z' }, { up: true }],
    });
    expect(back).not.toHaveProperty('degraded');
  });
});
