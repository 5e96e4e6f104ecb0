import type { Socket } from 'node:net';
import { addressGroup, clientAddress } from './client-address.ts';

export interface ConnectionGuardOptions {
  /** Connections of one address at once; more are cut. */
  readonly perAddress: number;
  /** Of answers that are written by hand. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Answers by the code of Node's error; everything else is 400. */
const STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Content Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

/** Connections by address, and those whose bytes are no HTTP. */
export class ConnectionGuard {
  readonly #options: ConnectionGuardOptions;
  readonly #open = new Map<string, number>();
  /** Exchanges under way by connection; a pipelining client has more than one. */
  readonly #exchanges = new WeakMap<Socket, number>();

  constructor(options: ConnectionGuardOptions) {
    this.#options = options;
  }

  /** Counts a new connection, or cuts it. */
  admit(socket: Socket): void {
    const key = addressGroup(clientAddress(socket.remoteAddress, undefined, 0));
    const open = this.#open.get(key) ?? 0;
    if (open >= this.#options.perAddress) {
      socket.destroy();
      return;
    }
    this.#open.set(key, open + 1);
    socket.once('close', () => {
      const left = (this.#open.get(key) ?? 1) - 1;
      if (left > 0) this.#open.set(key, left);
      else this.#open.delete(key);
    });
  }

  began(socket: Socket): void {
    this.#exchanges.set(socket, (this.#exchanges.get(socket) ?? 0) + 1);
  }

  ended(socket: Socket): void {
    this.#exchanges.set(socket, (this.#exchanges.get(socket) ?? 1) - 1);
  }

  /**
   * Ends a connection whose bytes are no request, are too many, or come too slowly. It is told so, unless that would get
   * into the middle of an answer.
   */
  refuse(error: NodeJS.ErrnoException, socket: Socket): void {
    if (!socket.writable || error.code === 'ECONNRESET' || (this.#exchanges.get(socket) ?? 0) > 0) {
      socket.destroy();
      return;
    }
    const lines = Object.entries(this.#options.headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const status = STATUS[error.code ?? ''] ?? '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\n${lines.join('')}content-length: 0\r\nconnection: close\r\n\r\n`, () =>
      socket.destroy(),
    );
  }
}
