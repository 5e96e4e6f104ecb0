import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** One port in front of several: each connection goes to the next of them, as a load balancer does it. */
export class Balancer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections by port. */
  readonly counts = new Map<number, number>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(port: number, targets: readonly number[]): Promise<Balancer> {
    let next = 0;
    const server = createServer();
    const balancer = new Balancer(server);
    server.on('connection', (client) => {
      const target = targets[next++ % targets.length] ?? 0;
      balancer.counts.set(target, (balancer.counts.get(target) ?? 0) + 1);
      const upstream = connect(target, '127.0.0.1');
      for (const [one, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        balancer.#sockets.add(one);
        one.on('error', () => {});
        one.on('close', () => {
          balancer.#sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return balancer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
