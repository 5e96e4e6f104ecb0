import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What happens to bytes from the server: they go on to the client, or the connection is cut before they do. */
export type Verdict = 'forward' | 'cut';

/** Looks at what the server sends on one connection; answers for this chunk and all later ones. */
export type Watcher = (chunk: Buffer) => Verdict;

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly toClient: Way;
  readonly toServer: Way;
}

/** One direction of a connection: what is on its way arrives in order, also when the delay is changed meanwhile. */
class Way {
  readonly #waiting: { readonly at: number; readonly arrive: () => void }[] = [];
  #timer: NodeJS.Timeout | undefined;

  send(delayMs: number, arrive: () => void): void {
    if (delayMs === 0 && this.#waiting.length === 0) {
      arrive();
      return;
    }
    this.#waiting.push({ at: performance.now() + delayMs, arrive });
    if (this.#waiting.length === 1) this.#arm();
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** What is on its way is lost. */
  cut(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const [first] = this.#waiting;
    if (!first) return;
    this.#timer = setTimeout(
      () => {
        this.#waiting.shift();
        first.arrive();
        this.#arm();
      },
      Math.max(0, first.at - performance.now()),
    );
  }
}

/**
 * A loopback proxy in front of a server, with which a test plays the network: cut, refuse, hang, delay, half-open, and
 * a look at what the server answers before the client sees it.
 */
export class TcpProxy {
  readonly #listener: Server;
  readonly #target: number;
  readonly #pairs = new Set<Pair>();
  readonly #port: number;
  #refusing = false;
  #hanging = false;
  #halfOpen = false;
  #delayMs = 0;
  #watch: (() => Watcher) | undefined;
  #accepted = 0;

  private constructor(listener: Server, target: number, port: number) {
    this.#listener = listener;
    this.#target = target;
    this.#port = port;
    listener.on('connection', (client) => this.#accept(client));
  }

  /** @param target Loopback port of the server. */
  static async start(target: number): Promise<TcpProxy> {
    // Half-open is a switch of ours, so one side's end does not end the other by itself.
    const listener = createServer({ allowHalfOpen: true, noDelay: true });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    return new TcpProxy(listener, target, address.port);
  }

  get port(): number {
    return this.#port;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** The URL with this proxy in place of its host and port. */
  inFrontOf(url: string): string {
    return url.replace(/127\.0\.0\.1:\d+/, this.address);
  }

  /** Connections open now. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Connections ever accepted and not refused. */
  get accepted(): number {
    return this.#accepted;
  }

  /** How much of what was sent is still delayed, in pieces. */
  get onTheirWay(): number {
    return [...this.#pairs].reduce((sum, { toClient, toServer }) => sum + toClient.size + toServer.size, 0);
  }

  /** Resets all connections; new ones are welcome. */
  cutAll(): void {
    for (const pair of [...this.#pairs]) this.#cut(pair);
  }

  /** Whether new connections are reset at once. */
  refuse(on = true): void {
    this.#refusing = on;
  }

  /** Whether nothing is forwarded any more, on old connections and new ones; what was held back follows afterwards. */
  hang(on = true): void {
    this.#hanging = on;
    for (const { client, server } of this.#pairs) {
      if (on) pauseBoth(client, server);
      else resumeBoth(client, server);
    }
  }

  /** Forwards everything this much later, both ways; 0 for at once. */
  delay(milliseconds: number): void {
    this.#delayMs = milliseconds;
  }

  /** Whether servers have vanished without a word: nothing of them reaches a client, not even the end. */
  halfOpen(on = true): void {
    this.#halfOpen = on;
  }

  /** Shows what the server sends to a watcher made for each connection opened from now on; undefined for none. */
  watchServer(make: (() => Watcher) | undefined): void {
    this.#watch = make;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutAll();
    await new Promise((resolve) => this.#listener.close(resolve));
  }

  #accept(client: Socket): void {
    client.on('error', () => {});
    if (this.#refusing) {
      client.resetAndDestroy();
      return;
    }
    this.#accepted += 1;
    const server = connect({ port: this.#target, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    const pair: Pair = { client, server, toClient: new Way(), toServer: new Way() };
    const { toClient, toServer } = pair;
    this.#pairs.add(pair);
    const watcher = this.#watch?.();
    client.on('data', (chunk) => toServer.send(this.#delayMs, () => server.write(chunk)));
    server.on('data', (chunk: Buffer) => {
      if (this.#halfOpen) return;
      if (watcher?.(chunk) === 'cut') this.#cut(pair);
      else toClient.send(this.#delayMs, () => client.write(chunk));
    });
    client.on('end', () => toServer.send(this.#delayMs, () => server.end()));
    client.on('close', () => this.#cut(pair));
    server.on('end', () => {
      if (!this.#halfOpen) toClient.send(this.#delayMs, () => client.end());
    });
    server.on('error', () => {
      if (!this.#halfOpen) this.#cut(pair);
    });
    server.on('close', () => {
      if (!this.#halfOpen && client.writableEnded) this.#pairs.delete(pair);
    });
    if (this.#hanging) pauseBoth(client, server);
  }

  #cut(pair: Pair): void {
    this.#pairs.delete(pair);
    for (const way of [pair.toClient, pair.toServer]) way.cut();
    for (const socket of [pair.client, pair.server]) if (!socket.destroyed) socket.resetAndDestroy();
  }
}

function pauseBoth(...sockets: readonly Socket[]): void {
  for (const socket of sockets) socket.pause();
}

function resumeBoth(...sockets: readonly Socket[]): void {
  for (const socket of sockets) socket.resume();
}
