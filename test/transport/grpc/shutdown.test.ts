import { describe, expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Status } from '#src/gen/health/v1/health_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { HealthService } from '#src/transport/health/health.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { errorInfo, GrpcClient } from '../../support/grpc-client.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { serveGrpc } from '../../support/transport.ts';
import { until } from '../../support/until.ts';

const CREATE = 'sallyport.v1.SessionService/CreateSession';
const { createSession } = SessionService.method;
/** A grace that nothing here comes to the end of. */
const PATIENCE_MS = 15_000;

describe('stopping a gRPC server', () => {
  it('lets calls in flight finish, and takes no new ones', async () => {
    const held = Promise.withResolvers<void>();
    let begun = 0;
    const { server, address } = await serveGrpc({
      handlers: {
        [CREATE]: async ({ subject }) => {
          begun += 1;
          await held.promise;
          return { session: { subject } };
        },
      },
    });
    const client = new GrpcClient(address);
    const calls = Array.from({ length: 50 }, (_, i) => client.unary(createSession, { subject: `s${i}` }));
    await until(() => begun === 50);
    const drained = server.drain(PATIENCE_MS);
    held.resolve();
    const replies = await Promise.all(calls);
    expect(replies.map((reply) => reply.session?.subject)).toEqual(Array.from({ length: 50 }, (_, i) => `s${i}`));
    expect(await drained).toBe(true);
    const late = await client.unary(createSession, { subject: 'late' }, 300).catch((error: unknown) => error);
    expect([4, 14]).toContain(errorInfo(late).code);
    client.close();
  });

  it('still answers calls that arrive on a connection, so that none is lost on the way', async () => {
    const held = Promise.withResolvers<void>();
    let begun = 0;
    const { server, address, served } = await serveGrpc({
      handlers: {
        [CREATE]: async () => {
          begun += 1;
          await held.promise;
          return {};
        },
      },
    });
    const raw = new RawGrpc(address);
    const person = frame(Buffer.from([0x12, 1, 0x61]));
    const first = raw.call(CREATE, person);
    await until(() => begun === 1);
    served.pipeline.drain();
    const late = raw.call(CREATE, person);
    await until(() => begun === 2);
    held.resolve();
    expect(await first).toMatchObject({ code: 0 });
    expect(await late).toMatchObject({ code: 0 });
    raw[Symbol.dispose]();
    await server.drain(0);
  });

  it('cuts what is left after the grace, and says so', async () => {
    const clock = new ManualClock();
    const { server, address, served } = await serveGrpc({
      handlers: { [CREATE]: () => new Promise(() => {}) },
      grpc: { clock },
    });
    const client = new GrpcClient(address);
    const call = client.unary(createSession, { subject: 'a' }).catch((error: unknown) => error);
    await until(() => served.pipeline.liveCalls === 1);
    let ended = false;
    const drained = server.drain(1_000).finally(() => {
      ended = true;
    });
    clock.advance(999);
    await settle();
    expect(ended).toBe(false);
    clock.advance(1);
    expect(await drained).toBe(false);
    expect(errorInfo(await call).code).toBe(14);
    client.close();
  });

  it('is faster when asked again with less grace', async () => {
    const { server, address, served } = await serveGrpc({ handlers: { [CREATE]: () => new Promise(() => {}) } });
    const client = new GrpcClient(address);
    client.unary(createSession, { subject: 'a' }).catch(() => {});
    await until(() => served.pipeline.liveCalls === 1);
    const patient = server.drain(60_000);
    await server.drain(10);
    expect(await patient).toBe(false);
    client.close();
  });

  it('ends health watches after telling them', async () => {
    const health = new HealthService();
    const { server, address } = await serveGrpc({ mounted: [health.mounted] });
    const client = new GrpcClient(address, {});
    health.setReady(true);
    const watch = client.serverStream(Health.method.watch, { service: '' });
    const seen: Status[] = [];
    watch.on('data', ({ status }) => seen.push(status));
    const ended = new Promise((resolve) => watch.once('end', resolve));
    await new Promise((resolve) => watch.once('data', resolve));
    health.stop();
    expect(await server.drain(PATIENCE_MS)).toBe(true);
    await ended;
    expect(seen).toEqual([Status.SERVING, Status.NOT_SERVING]);
    client.close();
  });
});
