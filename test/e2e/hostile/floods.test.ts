import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { watchHarm } from '../../support/harm-watch.ts';
import { callFields, END_HEADERS, FRAME, FramePeer, hpack, http2Frame } from '../../support/http2-frames.ts';
import { plainTcp } from '../../support/plain-tcp.ts';
import { Sidecar } from '../../support/sidecar.ts';

const CREATE = 'sallyport.v1.SessionService/CreateSession';
const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';

let sidecar: Sidecar;
beforeAll(async () => {
  sidecar = await Sidecar.start();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
});

describe('floods and broken HTTP/2', () => {
  it('survives rapid resets of 20,000 streams', async () => {
    const state = await watchHarm(sidecar);
    using peer = await FramePeer.open(sidecar.ports.grpc);
    const block = hpack(callFields(`/${VALIDATE}`));
    await peer.flood(20_000, (index) => {
      const stream = 2 * index + 1;
      return Buffer.concat([
        http2Frame(FRAME.HEADERS, END_HEADERS, stream, block),
        http2Frame(FRAME.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8])),
      ]);
    });
    await state.unharmed();
  });

  it('ends a connection whose header block never ends', async () => {
    const state = await watchHarm(sidecar);
    using peer = await FramePeer.open(sidecar.ports.grpc);
    peer.send(FRAME.HEADERS, 0, 1, hpack(callFields(`/${VALIDATE}`)));
    const part = hpack([['x-more', 'm'.repeat(1_000)]]);
    const sent = await peer.flood(20_000, () => http2Frame(FRAME.CONTINUATION, 0, 1, part));
    await peer.closed;
    expect(sent).toBeLessThanOrEqual(20_000);
    await state.unharmed();
  });

  it('survives floods of pings, settings and empty frames by somebody who reads nothing', async () => {
    const state = await watchHarm(sidecar);
    const floods: readonly ((index: number) => Buffer)[] = [
      () => http2Frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
      () => http2Frame(FRAME.SETTINGS, 0, 0),
      (index) => http2Frame(FRAME.HEADERS, END_HEADERS, 2 * index + 1, hpack(callFields(`/${VALIDATE}`))),
    ];
    for (const bytesOf of floods) {
      using peer = await FramePeer.open(sidecar.ports.grpc);
      peer.socket.pause();
      await peer.flood(50_000, bytesOf);
    }
    await state.unharmed();
  });

  it('ends connections that break the protocol', async () => {
    const state = await watchHarm(sidecar);
    const sins: readonly [string, (peer: FramePeer) => void][] = [
      [
        'a window that overflows',
        (peer) => {
          const most = Buffer.from([0x7f, 0xff, 0xff, 0xff]);
          peer.send(FRAME.WINDOW_UPDATE, 0, 0, most);
          peer.send(FRAME.WINDOW_UPDATE, 0, 0, most);
        },
      ],
      ['data for stream 0', (peer) => peer.send(FRAME.DATA, 0, 0, Buffer.from('x'))],
      ['headers on an even stream', (peer) => peer.send(FRAME.HEADERS, END_HEADERS, 2, hpack(callFields('/')))],
      ['a frame larger than allowed', (peer) => peer.send(FRAME.DATA, 0, 1, Buffer.alloc(1 << 20))],
      ['broken HPACK', (peer) => peer.send(FRAME.HEADERS, END_HEADERS, 1, Buffer.from('ffffffffffffff', 'hex'))],
      ['a ping of the wrong size', (peer) => peer.send(FRAME.PING, 0, 0, Buffer.alloc(7))],
    ];
    for (const [what, sin] of sins) {
      using peer = await FramePeer.open(sidecar.ports.grpc);
      sin(peer);
      const told = await peer.until((one) => one.type === FRAME.GOAWAY || one.type === FRAME.RST_STREAM);
      expect(peer.isClosed || told !== undefined, what).toBe(true);
    }
    await state.unharmed();
  });

  it('survives garbage, half requests and other protocols on all ports', async () => {
    const state = await watchHarm(sidecar);
    const garbage = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.from('POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n'),
      Buffer.from('POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nzzzz\r\n'),
      Buffer.from(
        `POST /${CREATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n`,
      ),
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame at all'),
      Buffer.from('160301020001000fc0303', 'hex'),
      Buffer.from([...Array(4_096).keys()].map((index) => (index * 7_919) % 256)),
      Buffer.alloc(100_000, 0x41),
      Buffer.from('\0\0\0\0'),
    ];
    for (const port of [sidecar.ports.grpc, sidecar.ports.http, sidecar.ports.admin]) {
      for (const bytesSent of garbage) await plainTcp(port, bytesSent, 300);
    }
    await state.unharmed();
  });
});

it('leaves no trace of a crash in the log after all this', () => {
  expect(sidecar.stdout + sidecar.stderr).not.toMatch(
    /uncaught|unhandled|TypeError|RangeError|"level":"(error|fatal)"/i,
  );
});
