import { RedisChallengeCopies } from '#src/adapters/redis/challenge-copies.ts';
import type { RedisTarget } from '#src/adapters/redis/client-options.ts';
import { RedisConnection } from '#src/adapters/redis/connection.ts';
import { RedisKeys } from '#src/adapters/redis/keys.ts';
import { RedisNews } from '#src/adapters/redis/news.ts';
import { RedisPendingEnds } from '#src/adapters/redis/pending-ends.ts';
import { RedisSessionCopies } from '#src/adapters/redis/session-copies.ts';
import { createKeyRing, type KeyRingData } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { ChallengeCopies, News, PendingEnds, SessionCopies } from '#src/adapters/shared/contract.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import { RecordingLog } from './recording-telemetry.ts';
import { REALM, T0 } from './store-samples.ts';

/** What stands in front of the database, as one sidecar has it. */
export interface Front {
  readonly sessions: SessionCopies;
  readonly challenges: ChallengeCopies;
  readonly ends: PendingEnds;
  readonly news: News;
}

/**
 * A time-out for tests that are not about time: a server that stands still for a moment is none of their business. News
 * are given as long with `keepaliveMs`.
 */
export const PATIENT_MS = 5_000;

/** What the contract suites run over. */
export interface FrontFixture {
  /** One more sidecar before the same store, with the same keys; serves `realms`. */
  sidecar(realms?: readonly string[]): Promise<Front>;
  close(): Promise<void>;
}

export type MakeFront = () => Promise<FrontFixture>;

/** The instants of the samples, as if they were now; timers are real. */
export const sampleClock: Clock = { ...systemClock, now: () => T0 };

export interface RedisFrontOptions {
  readonly prefix?: string;
  readonly ring?: KeyRingData;
  readonly realms?: readonly string[];
  readonly failures?: number;
  readonly maxEnds?: number;
  readonly maxInFlight?: number;
  /** The product's if left out. */
  readonly keepaliveMs?: number;
  readonly random?: Random;
  readonly clock?: Clock;
}

export const RING: KeyRingData = createKeyRing(systemRandom);

export function targetOf(fields: Partial<RedisTarget> & { readonly at: readonly string[] }): RedisTarget {
  const { at, ...rest } = fields;
  return {
    mode: 'single',
    addresses: at.map((address) => {
      const [host = '', port = ''] = address.split(':');
      return { host, port: Number(port) };
    }),
    masterName: 'mymaster',
    database: 0,
    username: '',
    password: '',
    sentinelPassword: '',
    // Two cores, servers and tests at once: wider than a sidecar has it.
    timeoutMs: 150,
    ...rest,
  };
}

/** Everything of one sidecar that has to do with Redis. */
export class RedisFront implements Front {
  readonly log = new RecordingLog();
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly sessions: RedisSessionCopies;
  readonly challenges: RedisChallengeCopies;
  readonly ends: RedisPendingEnds;
  readonly news: RedisNews;
  malformed = 0;

  constructor(target: RedisTarget, options: RedisFrontOptions = {}) {
    const { prefix = 'sallyport', ring = RING, realms = [REALM], failures = 3, random = systemRandom } = options;
    const { maxEnds, maxInFlight, keepaliveMs, clock = sampleClock } = options;
    const box = new AesGcmSecretBox({ ring, random });
    const keys = new RedisKeys({ prefix, digest: new HmacKeyedDigest({ ring }) });
    const bound = maxInFlight === undefined ? {} : { maxInFlight };
    const connection = new RedisConnection({
      ...{ target, keys, failures, probeMs: 100, clock, random, log: this.log },
      ...bound,
    });
    this.connection = connection;
    this.keys = keys;
    this.sessions = new RedisSessionCopies({ connection, keys, box, clock });
    this.challenges = new RedisChallengeCopies({ connection, keys, box, clock });
    this.ends = new RedisPendingEnds({ connection, keys, box, ...(maxEnds === undefined ? {} : { maxEnds }) });
    const onMalformed = () => {
      this.malformed += 1;
    };
    const pulse = keepaliveMs === undefined ? {} : { keepaliveMs };
    this.news = new RedisNews({
      ...{ connection, keys, box, realms, onMalformed, clock, random, log: this.log },
      ...pulse,
    });
  }

  static async start(target: RedisTarget, options: RedisFrontOptions = {}): Promise<RedisFront> {
    const front = new RedisFront(target, options);
    await front.connection.start();
    await front.news.start();
    return front;
  }

  [Symbol.dispose](): void {
    this.news.close();
    this.connection.close();
  }
}

/** Sidecars over one Redis; `stop` ends the servers. */
export function frontFixture(target: RedisTarget, stop: () => Promise<void>): FrontFixture {
  const fronts: RedisFront[] = [];
  return {
    async sidecar(realms = [REALM]) {
      const front = await RedisFront.start(target, { realms, keepaliveMs: PATIENT_MS });
      fronts.push(front);
      return front;
    },
    async close() {
      for (const front of fronts) front[Symbol.dispose]();
      await stop();
    },
  };
}
