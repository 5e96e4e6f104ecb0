import { randomBytes } from 'node:crypto';
import { type Socket, connect as tcpConnect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { methodTable } from '#src/transport/methods.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { serveGrpc } from '../../support/transport.ts';
import { until } from '../../support/until.ts';

const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const EMPTY_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

let served: Awaited<ReturnType<typeof serveGrpc>>;

beforeAll(async () => {
  served = await serveGrpc({ grpc: { keepaliveMs: 200, keepaliveTimeoutMs: 1_000, maxConcurrentStreams: 7 } });
});
afterAll(async () => {
  await served.server.drain(0);
});

function socket(): Socket {
  const [host = '', port] = served.address.split(':');
  const one = tcpConnect({ host, port: Number(port) });
  one.on('error', () => {});
  return one;
}

const closed = (one: Socket) => new Promise((resolve) => one.once('close', resolve).resume());

async function stillServes(): Promise<void> {
  using raw = new RawGrpc(served.address);
  expect(await raw.call(VALIDATE, frame(new Uint8Array()))).toMatchObject({ code: 0 });
}

describe('a gRPC server', () => {
  it('survives bytes that are no HTTP/2', async () => {
    for (const bytes of [
      randomBytes(512),
      Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
      Buffer.from(PREFACE.slice(0, 10)),
    ]) {
      const one = socket();
      one.end(bytes);
      await closed(one);
    }
    await stillServes();
  });

  it('survives broken frames after a good beginning', async () => {
    for (let i = 0; i < 50; i++) {
      const one = socket();
      one.write(PREFACE);
      one.write(EMPTY_SETTINGS);
      one.end(randomBytes(1 + ((i * 37) % 400)));
      await closed(one);
    }
    await stillServes();
  });

  it('survives random messages to every method, and answers each', async () => {
    using raw = new RawGrpc(served.address);
    for (const { procedure } of methodTable().values()) {
      for (const size of [1, 17, 300]) {
        const answer = await raw.call(procedure.slice(1), frame(randomBytes(size)));
        expect(answer.code).toBeTypeOf('number');
        expect([13, 2]).not.toContain(answer.code);
      }
    }
    await stillServes();
  });

  it('survives a flood of headers', async () => {
    using raw = new RawGrpc(served.address);
    const many = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`x-h${i}`, 'v']));
    const answer = await raw.call(VALIDATE, frame(new Uint8Array()), many);
    expect(answer.code).toBeUndefined();
    await stillServes();
  });

  it('allows a bounded number of calls at once on one connection', async () => {
    using raw = new RawGrpc(served.address);
    await raw.call(VALIDATE, frame(new Uint8Array()));
    expect(raw.session.remoteSettings.maxConcurrentStreams).toBe(7);
  });

  it('drops a peer that does not answer pings', async () => {
    const one = socket();
    one.write(PREFACE);
    one.write(EMPTY_SETTINGS);
    // It never closes by itself.
    await closed(one);
  });

  it('keeps a peer that answers pings', async () => {
    using raw = new RawGrpc(served.address);
    await raw.call(VALIDATE, frame(new Uint8Array()));
    await sleep(2_000);
    expect(await raw.call(VALIDATE, frame(new Uint8Array()))).toMatchObject({ code: 0 });
    expect(raw.session.destroyed).toBe(false);
  });

  it('holds no call of a peer that is gone', async () => {
    const { pipeline, metrics } = served.served;
    await until(() => pipeline.liveCalls === 0 && metrics.streams === 0);
  });
});
