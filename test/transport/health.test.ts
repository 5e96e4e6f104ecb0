import { describe, expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Status } from '#src/gen/health/v1/health_pb.js';
import { HealthService } from '#src/transport/health/health.ts';
import { errorInfo, GrpcClient } from '../support/grpc-client.ts';
import { serveConnect, serveGrpc } from '../support/transport.ts';

async function serve() {
  const health = new HealthService();
  const { server, address } = await serveGrpc({ mounted: [health.mounted] });
  // No client header: the probes of a kubelet send none.
  const client = new GrpcClient(address, {});
  const close = async () => {
    client.close();
    await server.drain(0);
  };
  return { health, client, close };
}

const { check, list, watch } = Health.method;
const NAMES = ['', 'readiness', 'liveness', 'sallyport.v1.SessionService', 'sallyport.v1.AuditService'];

describe('grpc.health.v1.Health', () => {
  it('serves nothing but liveness before it is ready, and everything after', async () => {
    const { health, client, close } = await serve();
    const statuses = async () =>
      await Promise.all(NAMES.map(async (service) => (await client.unary(check, { service })).status));
    const { NOT_SERVING, SERVING } = Status;
    expect(await statuses()).toEqual([NOT_SERVING, NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING]);
    health.setReady(true);
    expect(await statuses()).toEqual(NAMES.map(() => SERVING));
    health.stop();
    health.setReady(true);
    expect(await statuses()).toEqual([NOT_SERVING, NOT_SERVING, SERVING, NOT_SERVING, NOT_SERVING]);
    await close();
  });

  it('does not know other names', async () => {
    const { client, close } = await serve();
    const error = await client.unary(check, { service: 'nope' }).catch((thrown: unknown) => thrown);
    expect(errorInfo(error).code).toBe(5);
    const stream = client.serverStream(watch, { service: 'nope' });
    stream.on('error', () => {});
    expect(await new Promise((resolve) => stream.once('data', ({ status }) => resolve(status)))).toBe(
      Status.SERVICE_UNKNOWN,
    );
    stream.cancel();
    await close();
  });

  it('lists every name', async () => {
    const { client, close } = await serve();
    const { statuses } = await client.unary(list, {});
    for (const name of NAMES) expect(statuses[name]?.status).toBeDefined();
    expect(Object.keys(statuses)).toHaveLength(9);
    await close();
  });

  it('tells a watch the state at once, then each change and nothing else', async () => {
    const { health, client, close } = await serve();
    const stream = client.serverStream(watch, { service: 'readiness' });
    stream.on('error', () => {});
    const seen: Status[] = [];
    const next = () => new Promise<void>((resolve) => stream.once('data', () => resolve()));
    stream.on('data', ({ status }) => seen.push(status));
    await next();
    for (const ready of [false, true, true, false]) {
      const change = seen.at(-1) !== (ready ? Status.SERVING : Status.NOT_SERVING) ? next() : undefined;
      health.setReady(ready);
      await change;
    }
    expect(seen).toEqual([Status.NOT_SERVING, Status.SERVING, Status.NOT_SERVING]);
    stream.cancel();
    await close();
  });

  it('answers over Connect too, without the client header', async () => {
    const health = new HealthService();
    health.setReady(true);
    const { server, url } = await serveConnect({ mounted: [health.mounted] });
    const answer = await fetch(`${url}/grpc.health.v1.Health/Check`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(await answer.json()).toEqual({ status: 'SERVING' });
    await server.drain(0);
  });
});
