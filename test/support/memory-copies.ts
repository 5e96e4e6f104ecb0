import type {
  ChallengeCopies,
  PendingEnd,
  PendingEnds,
  SessionCopies,
  SessionCopy,
} from '#src/adapters/shared/contract.ts';
import { names } from '#src/adapters/shared/pending-ends-drain.ts';
import { type Challenge, canMove } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';

/** What a Redis holds. It can forget everything, and come back from an old dump. */
export class MemoryRedis {
  sessions = new Map<string, SessionCopy>();
  challenges = new Map<string, Challenge>();
  pending = new Map<string, PendingEnd>();

  dump(): () => void {
    const held = [new Map(this.sessions), new Map(this.challenges), new Map(this.pending)] as const;
    return () => {
      this.sessions = new Map(held[0]);
      this.challenges = new Map(held[1]);
      this.pending = new Map(held[2]);
    };
  }

  flush(): void {
    this.sessions.clear();
    this.challenges.clear();
    this.pending.clear();
  }
}

/** How one sidecar reaches a Redis. */
export class MemoryRedisFront {
  readonly #redis: MemoryRedis;
  /** Rejects everything. */
  away = false;
  /** Never answers. */
  frozen = false;
  /** Calls that were begun, by name. */
  readonly calls: string[] = [];

  constructor(redis: MemoryRedis) {
    this.#redis = redis;
  }

  readonly sessions: SessionCopies = {
    find: (realm, digest) => this.#call('find', (redis) => redis.sessions.get(`${realm}\n${digest}`)),
    put: (copy) =>
      this.#call('put', (redis) => {
        const key = `${copy.session.realm}\n${copy.session.tokenDigest}`;
        if ((redis.sessions.get(key)?.position ?? -1) <= copy.position) redis.sessions.set(key, copy);
      }),
    drop: (realm, digests) =>
      this.#call('drop', (redis) => {
        for (const digest of digests) redis.sessions.delete(`${realm}\n${digest}`);
      }),
  };

  readonly challenges: ChallengeCopies = {
    find: (realm, id) => this.#call('findChallenge', (redis) => redis.challenges.get(`${realm}\n${id}`)),
    put: (challenge) =>
      this.#call('putChallenge', (redis) => {
        const key = `${challenge.realm}\n${challenge.id}`;
        const held = redis.challenges.get(key);
        if (!held || canMove(held.state, challenge.state)) redis.challenges.set(key, challenge);
      }),
  };

  readonly pendingEnds: PendingEnds = {
    add: (end) =>
      this.#call('add', (redis) => {
        if (!redis.pending.has(end.id)) redis.pending.set(end.id, end);
      }),
    isEnded: (session) =>
      this.#call('isEnded', (redis) => [...redis.pending.values()].some((end) => names(end, session))),
    list: (limit) => this.#call('list', (redis) => [...redis.pending.values()].slice(0, limit)),
    remove: (end) => this.#call('remove', (redis) => void redis.pending.delete(end.id)),
  };

  async #call<T>(name: string, work: (redis: MemoryRedis) => T): Promise<T> {
    this.calls.push(name);
    if (this.frozen) await new Promise(() => {});
    await Promise.resolve();
    if (this.away) throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'redis is away; try again in a moment');
    const result = work(this.#redis);
    await Promise.resolve();
    return result;
  }
}
