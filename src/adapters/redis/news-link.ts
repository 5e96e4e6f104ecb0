import type { Redis } from 'ioredis';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import { pauseBefore } from './client-options.ts';
import { RedisFailure } from './failure.ts';

export interface NewsLinkOptions {
  /** A new connection, not connected yet, that never connects again by itself. */
  readonly open: () => Redis;
  /** Settles when the connection is good for news; rejects when it is not. */
  readonly check: (client: Redis) => Promise<void>;
  /** Channels that are always subscribed to. */
  readonly channels: readonly string[];
  /** How long nothing may be heard before the other side is asked, and how long it then has to answer. */
  readonly keepaliveMs: DurationMs;
  readonly onMessage: (channel: string, message: Buffer) => void;
  readonly onUp: (up: boolean) => void;
  readonly clock: Clock;
  readonly random: Random;
}

/** Times `keepaliveMs`: twice as long as it takes to give a connection up while timers are on time. */
const UNHEARD = 4;
/** Channels in one command when all are subscribed to again. */
const CHUNK = 1_000;

/**
 * A connection for subscriptions that says truthfully whether they stand. One that is in doubt is never mended: it is
 * thrown away, and `up` is false until another has subscribed to everything.
 */
export class NewsLink {
  readonly #options: NewsLinkOptions;
  readonly #channels: Set<string>;
  #client: Redis | undefined;
  #up = false;
  #heardAt = 0;
  #attempts = 0;
  #closed = false;
  #cancel: (() => void) | undefined;

  constructor(options: NewsLinkOptions) {
    this.#options = options;
    this.#channels = new Set(options.channels);
  }

  get up(): boolean {
    return this.#up;
  }

  /**
   * Whether the other side was heard of late. Not after a pause of the whole process, while `up` has not noticed yet: what
   * came meanwhile may lie unread, or be lost with a connection that was closed.
   */
  get isHeard(): boolean {
    const { clock, keepaliveMs } = this.#options;
    return clock.monotonic() - this.#heardAt < UNHEARD * keepaliveMs;
  }

  /** Resolves after the first try, whatever came of it. */
  start(): Promise<void> {
    return this.#connect();
  }

  /** Resolves when the subscription stands; rejects if it does not, or not yet. */
  async hold(channel: string): Promise<void> {
    const client = this.#client;
    if (!this.#up || !client) throw new RedisFailure('CLOSED');
    this.#channels.add(channel);
    try {
      await client.subscribe(channel);
    } catch (error) {
      this.#channels.delete(channel);
      this.#drop(client);
      throw error;
    }
    if (client !== this.#client) throw new RedisFailure('CLOSED');
  }

  release(channel: string): void {
    this.#channels.delete(channel);
    const client = this.#client;
    if (client && this.#up) client.unsubscribe(channel).catch(() => this.#drop(client));
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    if (this.#client) this.#drop(this.#client);
  }

  async #connect(): Promise<void> {
    if (this.#closed) return;
    const { open, check, onMessage, clock } = this.#options;
    const client = open();
    this.#client = client;
    client.on('error', () => {});
    client.on('close', () => this.#drop(client));
    client.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      if (client !== this.#client) return;
      this.#heardAt = clock.monotonic();
      onMessage(channel.toString('latin1'), message);
    });
    try {
      await client.connect();
      const standing = new Set<string>();
      // What is held meanwhile is refused, but releases change the set.
      const channels = [...this.#channels];
      for (let at = 0; at < channels.length; at += CHUNK) {
        const chunk = channels.slice(at, at + CHUNK);
        await client.subscribe(...chunk);
        for (const channel of chunk) standing.add(channel);
      }
      await check(client);
      for (const channel of standing) if (!this.#channels.has(channel)) client.unsubscribe(channel).catch(() => {});
    } catch {
      this.#drop(client);
      return;
    }
    if (client !== this.#client) return;
    this.#attempts = 0;
    this.#heardAt = clock.monotonic();
    this.#watch(client);
    this.#become(true);
  }

  /** A dead or frozen peer says nothing, and neither does a lost network: so it is asked. */
  #watch(client: Redis): void {
    const { clock, keepaliveMs } = this.#options;
    const quiet = clock.monotonic() - this.#heardAt;
    this.#cancel = clock.schedule(Math.max(1, keepaliveMs - quiet), () => {
      if (clock.monotonic() - this.#heardAt < keepaliveMs - 1) this.#watch(client);
      else void this.#ask(client);
    });
  }

  async #ask(client: Redis): Promise<void> {
    const { check, clock, keepaliveMs } = this.#options;
    this.#cancel = clock.schedule(keepaliveMs, () => {
      // The answer may lie there unread if this process was busy for long; reading comes right after timers.
      setImmediate(() => {
        if (clock.monotonic() - this.#heardAt >= keepaliveMs) this.#drop(client);
      });
    });
    try {
      await check(client);
    } catch {
      this.#drop(client);
      return;
    }
    if (client !== this.#client) return;
    this.#cancel?.();
    this.#heardAt = clock.monotonic();
    this.#watch(client);
  }

  #drop(client: Redis): void {
    if (client !== this.#client) return;
    const { clock, random } = this.#options;
    this.#client = undefined;
    this.#cancel?.();
    this.#become(false);
    client.disconnect();
    if (this.#closed) return;
    this.#attempts += 1;
    this.#cancel = clock.schedule(pauseBefore(this.#attempts, random), () => void this.#connect());
  }

  #become(up: boolean): void {
    if (this.#up === up) return;
    this.#up = up;
    this.#options.onUp(up);
  }
}
