import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';

export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** `mode` is 0660 if absent: owner and group may connect. */
  | { readonly kind: 'unix'; readonly path: string; readonly mode?: number };

/** With the port that was really bound. */
export type BoundAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

const DEFAULT_MODE = 0o660;
const PROBE_MS = 1_000;

/** An address that cannot be listened on. The message says which one, why, and what to do. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'something else listens there; stop it or choose another address',
  EADDRNOTAVAIL: 'this machine does not have that address',
  EACCES: 'not permitted; a port below 1024 needs the right to it, a socket a folder that exists and can be written',
};

/**
 * Makes a server listen. A socket file that nobody answers on is removed first; one that answers, or a file that is no
 * socket, is left alone. The folder is not touched. Throws ListenError.
 */
export async function listenOn(server: Server, address: ListenAddress): Promise<BoundAddress> {
  if (address.kind === 'tcp') {
    await bind(
      server,
      () => server.listen({ host: address.host, port: address.port }),
      `${address.host}:${address.port}`,
    );
    const bound = server.address();
    const port = typeof bound === 'object' && bound ? bound.port : address.port;
    return { kind: 'tcp', host: address.host, port };
  }
  const mode = address.mode ?? DEFAULT_MODE;
  await removeStale(address.path);
  // The file must not be open to others for one moment, so it is made with the mode, not given it afterwards only.
  const umask = process.umask(0o777 & ~mode);
  const bound = bind(server, () => server.listen({ path: address.path }), address.path);
  process.umask(umask);
  await bound;
  await chmod(address.path, mode);
  return { kind: 'unix', path: address.path };
}

/**
 * Makes one server listen on each address, or none: those bound before the one that fails are closed again. Throws
 * ListenError.
 */
export async function listenOnEach<S extends Server>(
  addresses: readonly ListenAddress[],
  make: () => S,
): Promise<readonly { readonly server: S; readonly address: BoundAddress }[]> {
  const bound: { readonly server: S; readonly address: BoundAddress }[] = [];
  try {
    for (const address of addresses) {
      const server = make();
      bound.push({ server, address: await listenOn(server, address) });
    }
    return bound;
  } catch (error) {
    // Whoever connected meanwhile is cut by the owner, so this waits for nobody.
    for (const { server } of bound) server.close();
    throw error;
  }
}

function bind(server: Server, listen: () => void, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const why = HINTS[error.code ?? ''] ?? error.message;
      reject(new ListenError(`cannot listen on ${name}: ${why}`, { cause: error }));
    };
    server.once('error', failed);
    server.once('listening', () => {
      server.off('error', failed);
      resolve();
    });
    listen();
  });
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isSocket()) throw new ListenError(`${path} exists and is not a socket; remove it or choose another path`);
  if (await answers(path)) throw new ListenError(`another process listens on ${path}; stop it or choose another path`);
  await unlink(path);
}

/** Only a refused connection shows that nobody is there. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PROBE_MS, () => done(true));
    socket.once('connect', () => done(true));
    socket.once('error', (error: NodeJS.ErrnoException) =>
      done(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}
