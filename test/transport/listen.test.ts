import { existsSync, lstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { ListenError, listenOn } from '#src/transport/listen.ts';
import { GrpcClient } from '../support/grpc-client.ts';
import { Served, serveGrpc } from '../support/transport.ts';

let folder = '';
let path = '';
const servers: Server[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-listen-'));
  path = join(folder, 'sallyport.sock');
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(folder, { recursive: true, force: true });
});

function server(): Server {
  const one = createServer();
  servers.push(one);
  return one;
}

/** A socket file that nobody answers on, as a killed process leaves it. */
async function stale(): Promise<void> {
  const { spawnSync } = await import('node:child_process');
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  expect(existsSync(path)).toBe(true);
}

describe('listening on a Unix socket', () => {
  it('gives owner and group the right to connect, whatever the umask', async () => {
    const umask = process.umask(0o077);
    await listenOn(server(), { kind: 'unix', path });
    expect(process.umask(umask)).toBe(0o077);
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  it('takes another mode where it is asked to', async () => {
    await listenOn(server(), { kind: 'unix', path, mode: 0o600 });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('removes a socket that nobody answers on', async () => {
    await stale();
    await expect(listenOn(server(), { kind: 'unix', path })).resolves.toEqual({ kind: 'unix', path });
  });

  it('leaves a socket alone that somebody answers on', async () => {
    const first = server();
    await listenOn(first, { kind: 'unix', path });
    await expect(listenOn(server(), { kind: 'unix', path })).rejects.toThrow(/another process listens on/);
    expect(first.listening).toBe(true);
    expect(lstatSync(path).isSocket()).toBe(true);
  });

  it('leaves a file alone that is no socket', async () => {
    writeFileSync(path, 'precious');
    await expect(listenOn(server(), { kind: 'unix', path })).rejects.toThrow(/is not a socket/);
    expect(existsSync(path)).toBe(true);
  });

  it('says which folder is missing', async () => {
    const missing = join(folder, 'nope', 'x.sock');
    const refused = listenOn(server(), { kind: 'unix', path: missing });
    await expect(refused).rejects.toBeInstanceOf(ListenError);
    await expect(refused).rejects.toThrow(
      `${missing}: not permitted; a port below 1024 needs the right to it, a socket a folder`,
    );
  });

  it('serves gRPC there, together with TCP, and removes the file when it stops', async () => {
    const { server: grpc } = await serveGrpc({
      handlers: { 'sallyport.v1.SessionService/ValidateSession': ({ token }) => ({ session: { id: token } }) },
      grpc: {
        addresses: [
          { kind: 'unix', path },
          { kind: 'tcp', host: '127.0.0.1', port: 0 },
        ],
      },
    });
    const [unix, tcp] = grpc.addresses;
    expect(unix).toEqual({ kind: 'unix', path });
    for (const address of [`unix:${path}`, `127.0.0.1:${tcp?.kind === 'tcp' ? tcp.port : 0}`]) {
      const client = new GrpcClient(address);
      expect((await client.unary(SessionService.method.validateSession, { token: 't' })).session?.id).toBe('t');
      client.close();
    }
    await grpc.drain(1_000);
    expect(existsSync(path)).toBe(false);
  });
});

describe('listening on TCP', () => {
  it('names the address that is taken', async () => {
    const bound = await listenOn(server(), { kind: 'tcp', host: '127.0.0.1', port: 0 });
    const port = bound.kind === 'tcp' ? bound.port : 0;
    await expect(listenOn(server(), { kind: 'tcp', host: '127.0.0.1', port })).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: something else listens there; stop it or choose another address`,
    );
  });

  it('of a server with two addresses is all or nothing', async () => {
    const taken = await listenOn(server(), { kind: 'tcp', host: '127.0.0.1', port: 0 });
    const port = taken.kind === 'tcp' ? taken.port : 0;
    const grpc = new Served().grpcServer({
      addresses: [
        { kind: 'unix', path },
        { kind: 'tcp', host: '127.0.0.1', port },
      ],
    });
    await expect(grpc.listen()).rejects.toThrow(/cannot listen/);
    expect(existsSync(path)).toBe(false);
  });
});
