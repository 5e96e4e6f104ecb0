import type { Challenge } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { EndNews, News } from '../shared/contract.ts';
import type { RedisConnection } from './connection.ts';
import { RedisFailure } from './failure.ts';
import type { RedisKeys } from './keys.ts';
import { NewsLink } from './news-link.ts';
import { type NewsMessage, NewsMessages, SENDER_BYTES } from './news-message.ts';
import { challengeOf, challengeRecord } from './sealed-records.ts';

export interface RedisNewsOptions {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly box: SecretBox;
  /** Realms that this sidecar serves: it hears of their sessions. */
  readonly realms: readonly string[];
  /** Half of the longest time for which a dead connection goes unnoticed. 300 ms if left out. */
  readonly keepaliveMs?: DurationMs;
  /** Told of each message that does not open, or has an unknown form. */
  readonly onMalformed?: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface Followed {
  readonly listeners: Set<(challenge: Challenge) => void>;
  readonly standing: Promise<void>;
}

const KEEPALIVE_MS = 300;
/** Bounds the size of one message. */
const MOST_PER_MESSAGE = 500;

/**
 * Pub/sub on a connection of its own, one channel per realm for sessions and one per challenge, so that a sidecar hears
 * only of challenges that somebody follows there. In a Cluster any node serves, because plain pub/sub reaches all of
 * them; sharded pub/sub would take one more connection per node.
 */
export class RedisNews implements News {
  readonly #options: RedisNewsOptions;
  readonly #messages: NewsMessages;
  readonly #link: NewsLink;
  readonly #stopWatching: () => void;
  #stood = false;
  readonly #followed = new Map<string, Followed>();
  readonly #connected = new Set<(connected: boolean) => void>();
  readonly #ended = new Set<(ends: readonly EndNews[]) => void>();
  readonly #changed = new Set<(sessionIds: readonly string[], at?: EpochMs) => void>();

  constructor(options: RedisNewsOptions) {
    this.#options = options;
    const { connection, keys, box, clock, random, keepaliveMs = KEEPALIVE_MS } = options;
    this.#messages = new NewsMessages({ box, sender: random.bytes(SENDER_BYTES) });
    this.#link = new NewsLink({
      open: () => connection.newSubscriber(4 * keepaliveMs),
      check: (client) => connection.checkSubscriber(client),
      channels: options.realms.map((realm) => keys.sessionNews(realm)),
      keepaliveMs,
      onMessage: (channel, message) => this.#received(channel, message),
      onUp: (up) => {
        this.#noteConnected();
        if (!up) void connection.recheck();
      },
      clock,
      random,
    });
    this.#stopWatching = connection.onChange(() => this.#noteConnected());
  }

  /** Resolves after the first try to connect; `connected` says what came of it. */
  start(): Promise<void> {
    return this.#link.start();
  }

  close(): void {
    this.#stopWatching();
    this.#link.close();
  }

  get connected(): boolean {
    return this.#stands && this.#link.isHeard;
  }

  onConnected(listener: (connected: boolean) => void): () => void {
    return subscribed(this.#connected, listener);
  }

  onSessionsEnded(listener: (ends: readonly EndNews[]) => void): () => void {
    return subscribed(this.#ended, listener);
  }

  onSessionsChanged(listener: (sessionIds: readonly string[], at?: EpochMs) => void): () => void {
    return subscribed(this.#changed, listener);
  }

  async sessionsEnded(ends: readonly EndNews[]): Promise<void> {
    const byRealm = Map.groupBy(ends, ({ realm }) => realm);
    const said = [...byRealm].flatMap(([realm, own]) =>
      parts(own).map((part) => this.#say(this.#options.keys.sessionNews(realm), { kind: 'ended', ends: part })),
    );
    await Promise.all(said);
  }

  async sessionsChanged(realm: string, sessionIds: readonly string[], at: EpochMs): Promise<void> {
    const channel = this.#options.keys.sessionNews(realm);
    await Promise.all(parts(sessionIds).map((part) => this.#say(channel, { kind: 'changed', sessionIds: part, at })));
  }

  challengeChanged(challenge: Challenge): Promise<void> {
    const channel = this.#options.keys.challengeNews(challenge.id);
    return this.#say(channel, { kind: 'challenge', challenge: challengeRecord(challenge) });
  }

  /** Rejects with Fault(unavailable) while not `connected`: nothing is followed then. */
  async followChallenge(challengeId: string, listener: (challenge: Challenge) => void): Promise<() => void> {
    const channel = this.#options.keys.challengeNews(challengeId);
    const followed = this.#followed.get(channel) ?? { listeners: new Set(), standing: this.#link.hold(channel) };
    this.#followed.set(channel, followed);
    // Each call counts for itself, even with the same listener.
    const own = (challenge: Challenge) => listener(challenge);
    followed.listeners.add(own);
    const leave = () => {
      if (!followed.listeners.delete(own) || followed.listeners.size > 0) return;
      if (this.#followed.get(channel) !== followed) return;
      this.#followed.delete(channel);
      this.#link.release(channel);
    };
    try {
      await followed.standing;
      // It stood once; it does now if the connection does.
      if (!this.connected) throw new RedisFailure('CLOSED');
    } catch (cause) {
      leave();
      throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'redis is away; try again in a moment', {
        retryAfterMs: 1_000,
        metadata: { dependency: 'redis' },
        cause,
      });
    }
    return leave;
  }

  /** Not while commands are refused either: where this sidecar can say nothing, others are likely to be silent too. */
  get #stands(): boolean {
    return this.#link.up && this.#options.connection.state.up;
  }

  #noteConnected(): void {
    const stands = this.#stands;
    if (stands === this.#stood) return;
    this.#stood = stands;
    this.#tell(this.#connected, (listener) => listener(stands));
  }

  async #say(channel: string, message: NewsMessage): Promise<void> {
    await this.#options.connection.command('publish', [channel, this.#messages.write(message, channel)]);
  }

  #received(channel: string, bytes: Buffer): void {
    const message = this.#messages.read(bytes, channel);
    if (message === 'own') return;
    if (message?.kind === 'ended') {
      this.#tell(this.#ended, (listener) => listener(message.ends));
    } else if (message?.kind === 'changed') {
      this.#tell(this.#changed, (listener) => listener(message.sessionIds, message.at));
    } else if (message?.kind === 'challenge') {
      const challenge = challengeOf(message.challenge);
      this.#tell(this.#followed.get(channel)?.listeners, (listener) => listener(challenge));
    } else {
      this.#options.onMalformed?.();
    }
  }

  /** One listener's fault must not keep the news from the others. */
  #tell<T>(listeners: ReadonlySet<T> | undefined, call: (listener: T) => void): void {
    for (const listener of [...(listeners ?? [])]) {
      try {
        call(listener);
      } catch (error) {
        this.#options.log.error('a listener to news failed', { error: String(error) });
      }
    }
  }
}

function subscribed<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function parts<T>(all: readonly T[]): readonly (readonly T[])[] {
  const count = Math.ceil(all.length / MOST_PER_MESSAGE);
  return Array.from({ length: count }, (_, part) => all.slice(part * MOST_PER_MESSAGE, (part + 1) * MOST_PER_MESSAGE));
}
