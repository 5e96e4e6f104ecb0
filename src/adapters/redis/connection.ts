import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { RedisScript } from '#src/gen/redis/scripts.js';
import type { DependencyState } from '#src/ports/dependencies.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { Breaker } from '../shared/breaker.ts';
import { scheduleFairly } from '../shared/fair-timer.ts';
import { clusterOptions, connectLimit, type RedisTarget, serverOptions, subscriberOptions } from './client-options.ts';
import { Cluster, Redis } from './driver.ts';
import { failureOf, isOutage, RedisFailure, refusesWrites } from './failure.ts';
import type { RedisKeys } from './keys.ts';

export interface RedisConnectionOptions {
  readonly target: RedisTarget;
  readonly keys: RedisKeys;
  /** Failures in a row after which nobody waits any more. */
  readonly failures: number;
  /** About how often Redis is tried while it is away. */
  readonly probeMs: DurationMs;
  /** Most commands that wait for an answer at once; more are refused. */
  readonly maxInFlight?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export type RedisArgument = string | number | Buffer;

const MAX_IN_FLIGHT = 1_000;
const AT_ONCE = 100;
/** Enough keys to reach every node of a usual Cluster. */
const CLUSTER_PROBES = 16;
const PROBE_LIFE_MS = 60_000;

/**
 * One Redis, however it is run. Every call answers within the time-out, or at once while Redis is away: then it rejects
 * with Fault(unavailable). A call that was given up may still have its effect, so calls are made to be repeatable.
 */
export class RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #client: Redis | Cluster;
  readonly #breaker: Breaker;
  readonly #maxInFlight: number;
  #inFlight = 0;
  #lastFailure: RedisFailure | undefined;
  #cancelDoubt: (() => void) | undefined;
  #closed = false;

  constructor(options: RedisConnectionOptions) {
    const { target, failures, probeMs, clock, random, log } = options;
    this.#options = options;
    this.#maxInFlight = options.maxInFlight ?? MAX_IN_FLIGHT;
    this.#breaker = new Breaker({
      name: 'redis',
      failures,
      probeMs,
      probe: () => this.#probe(),
      isOutage,
      clock,
      random,
      log,
    });
    this.#client =
      target.mode === 'cluster'
        ? new Cluster(
            target.addresses.map(({ host, port }) => ({ host, port })),
            clusterOptions(target, random),
          )
        : new Redis(serverOptions(target, random));
    this.#watch();
  }

  get state(): DependencyState {
    return this.#breaker.state;
  }

  get mode(): RedisTarget['mode'] {
    return this.#options.target.mode;
  }

  onChange(listener: (state: DependencyState) => void): () => void {
    return this.#breaker.onChange(listener);
  }

  /** Resolves when Redis serves, or has had its time to connect: then it counts as away until it does. */
  async start(): Promise<void> {
    const limit = 2 * connectLimit(this.#options.target.timeoutMs);
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.schedule(limit, resolve);
    const connected = this.#client.connect().catch((error: unknown) => this.#note(error));
    await Promise.race([connected, late]);
    cancel();
    try {
      await this.#probe();
    } catch (error) {
      this.#breaker.trip(this.#lastFailure ?? failureOf(error));
    }
  }

  /** One command; its answer with texts as Buffers. */
  command(name: string, args: readonly RedisArgument[]): Promise<unknown> {
    return this.#guarded(() => this.#send(name, args));
  }

  /** Many commands for as many keys, in parts that leave room for others; in a Cluster they go to many nodes. */
  async each(name: string, all: readonly (readonly RedisArgument[])[]): Promise<void> {
    for (let at = 0; at < all.length; at += AT_ONCE)
      await Promise.all(all.slice(at, at + AT_ONCE).map((args) => this.command(name, args)));
  }

  /** One script. The server is told its text when it does not know it, or not any more. */
  script(script: RedisScript, keys: readonly string[], args: readonly RedisArgument[]): Promise<readonly unknown[]> {
    if (keys.length !== script.keys) throw new RangeError(`${script.name} takes ${script.keys} keys`);
    const rest = [keys.length, ...keys, ...args];
    return this.#guarded(async () => {
      try {
        return arrayOf(await this.#send('evalsha', [script.sha1, ...rest]));
      } catch (error) {
        if (failureOf(error).code !== 'NOSCRIPT') throw error;
        return arrayOf(await this.#send('eval', [script.text, ...rest]));
      }
    });
  }

  /** A connection for subscriptions, not connected yet; in a Cluster to any node, since all nodes tell all news. */
  newSubscriber(limitMs: DurationMs): Redis {
    const { target, random } = this.#options;
    const nodes = this.#client instanceof Cluster ? this.#client.nodes('all') : [];
    const places = nodes.flatMap(({ options: { host, port } }) => (host && port ? [{ host, port }] : []));
    const all = places.length > 0 ? places : target.addresses;
    const node = all[(random.bytes(1)[0] ?? 0) % all.length];
    return new Redis(subscriberOptions(target, limitMs, node));
  }

  /** Whether a connection for subscriptions still hears everything; in a Cluster a node on its own does not. */
  async checkSubscriber(client: Redis): Promise<void> {
    if (this.mode !== 'cluster') {
      await client.ping();
      return;
    }
    try {
      await client.exists(this.#options.keys.probe(0));
    } catch (error) {
      // The key lives elsewhere, and the node knows where.
      if (failureOf(error).code !== 'MOVED') throw error;
    }
  }

  /** Something says that Redis may be away: it is asked, so that it counts as away even while nobody calls. */
  async recheck(): Promise<void> {
    for (let asked = 0; asked < this.#options.failures && this.#breaker.up && !this.#closed; asked += 1) {
      try {
        await this.#guarded(() => this.#send('set', [this.#options.keys.probe(0), '1', 'PX', PROBE_LIFE_MS]));
        return;
      } catch {
        // Counted by the breaker.
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#cancelDoubt?.();
    this.#breaker[Symbol.dispose]();
    this.#client.disconnect();
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inFlight >= this.#maxInFlight) throw this.#breaker.refusal(new RedisFailure('TOO_MANY_IN_FLIGHT'));
    this.#inFlight += 1;
    try {
      return await this.#breaker.run(() => this.#limited(work));
    } catch (error) {
      if (error instanceof Fault) throw error;
      const failure = failureOf(error);
      if (refusesWrites(failure)) this.#breaker.trip(failure);
      throw this.#breaker.refusal(failure);
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** The driver has a limit per try; this one holds over redirections and second tries. */
  #limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.#client.status !== 'ready') return Promise.reject(this.#lastFailure ?? new RedisFailure('CLOSED'));
    return new Promise((resolve, reject) => {
      const cancel = scheduleFairly(this.#options.clock, this.#options.target.timeoutMs, () =>
        reject(new RedisFailure('TIMEOUT')),
      );
      work().then(
        (value) => {
          cancel();
          resolve(value);
        },
        (error: unknown) => {
          cancel();
          reject(failureOf(error));
        },
      );
    });
  }

  #send(name: string, args: readonly RedisArgument[]): Promise<unknown> {
    this.#gather();
    return this.#client.callBuffer(name, [...args]);
  }

  /** What is sent within one turn of the event loop leaves in one write: a system call costs more than the command. */
  #gather(): void {
    if (!(this.#client instanceof Redis)) return;
    const { stream } = this.#client;
    if (stream.writableCorked > 0) return;
    stream.cork();
    setImmediate(() => stream.uncork());
  }

  /** Writes, since a replica and a full server still answer reads. */
  async #probe(): Promise<void> {
    const { keys } = this.#options;
    const probes = this.mode === 'cluster' ? CLUSTER_PROBES : 1;
    const write = (_: unknown, number: number) =>
      this.#limited(() => this.#send('set', [keys.probe(number), '1', 'PX', PROBE_LIFE_MS]));
    await Promise.all(Array.from({ length: probes }, write));
  }

  /** Being disconnected for longer than it takes to connect again is being away, even while nobody calls. */
  #watch(): void {
    const doubt = () => {
      if (this.#closed || this.#cancelDoubt) return;
      this.#cancelDoubt = this.#options.clock.schedule(connectLimit(this.#options.target.timeoutMs), () => {
        this.#cancelDoubt = undefined;
        if (this.#client.status !== 'ready') this.#breaker.trip(this.#lastFailure ?? new RedisFailure('CLOSED'));
      });
    };
    this.#client.on('error', (error: unknown) => this.#note(error));
    this.#client.on('node error', (error: unknown) => this.#note(error));
    this.#client.on('close', doubt);
    this.#client.on('ready', () => {
      this.#lastFailure = undefined;
      this.#cancelDoubt?.();
      this.#cancelDoubt = undefined;
    });
  }

  /** What is known about why; that the connection closed says less than whatever came before. */
  #note(error: unknown): void {
    const failure = failureOf(error);
    if (failure.code !== 'CLOSED' || !this.#lastFailure) this.#lastFailure = failure;
  }
}

function arrayOf(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [reply];
}
