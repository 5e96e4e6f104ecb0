import type { EndNews, News } from '#src/adapters/shared/contract.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';

/** What several sidecars say to one another, within one process. What is said arrives a turn later. */
export class MemoryNewsBus {
  readonly members = new Set<MemoryNews>();
  /** Whether this message gets lost on its way; nobody notices. */
  loses: (to: MemoryNews) => boolean = () => false;

  join(): MemoryNews {
    const member = new MemoryNews(this);
    this.members.add(member);
    return member;
  }
}

/** News of one sidecar. `connected` is what it believes; `cut` what is so. */
export class MemoryNews implements News {
  readonly #bus: MemoryNewsBus;
  readonly #connections = new Set<(connected: boolean) => void>();
  readonly #ended = new Set<(ends: readonly EndNews[]) => void>();
  readonly #changed = new Set<(sessionIds: readonly string[], at?: EpochMs) => void>();
  readonly #challenges = new Map<string, Set<(challenge: Challenge) => void>>();
  connected = true;
  /** Nothing arrives and nothing goes out, noticed or not. */
  cut = false;
  /** Said by this sidecar. */
  readonly said: (EndNews | string | Challenge)[] = [];
  /** When set, a subscription stands only after it resolves. */
  hold: Promise<void> | undefined;
  /** Never answers, as a frozen server. */
  frozen = false;

  constructor(bus: MemoryNewsBus) {
    this.#bus = bus;
  }

  /** How many challenges are subscribed to. */
  get following(): number {
    return this.#challenges.size;
  }

  disconnect(): void {
    this.cut = true;
    this.#become(false);
  }

  reconnect(): void {
    this.cut = false;
    this.#become(true);
  }

  onConnected(listener: (connected: boolean) => void): () => void {
    this.#connections.add(listener);
    return () => this.#connections.delete(listener);
  }

  onSessionsEnded(listener: (ends: readonly EndNews[]) => void): () => void {
    this.#ended.add(listener);
    return () => this.#ended.delete(listener);
  }

  onSessionsChanged(listener: (sessionIds: readonly string[], at?: EpochMs) => void): () => void {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  async sessionsEnded(ends: readonly EndNews[]): Promise<void> {
    await this.#say(ends, (to) => {
      for (const listener of [...to.#ended]) listener(ends);
    });
  }

  async sessionsChanged(_: string, sessionIds: readonly string[], at: EpochMs): Promise<void> {
    await this.#say(sessionIds, (to) => {
      for (const listener of [...to.#changed]) listener(sessionIds, at);
    });
  }

  async challengeChanged(challenge: Challenge): Promise<void> {
    await this.#say([challenge], (to) => {
      for (const listener of [...(to.#challenges.get(challenge.id) ?? [])]) listener(challenge);
    });
  }

  async followChallenge(challengeId: string, listener: (challenge: Challenge) => void): Promise<() => void> {
    await this.hold;
    if (!this.connected) throw away();
    const listeners = this.#challenges.get(challengeId) ?? new Set();
    this.#challenges.set(challengeId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#challenges.delete(challengeId);
    };
  }

  async #say(what: readonly (EndNews | string | Challenge)[], deliver: (to: MemoryNews) => void): Promise<void> {
    if (this.frozen) await new Promise(() => {});
    await Promise.resolve();
    if (this.cut) throw away();
    this.said.push(...what);
    for (const to of this.#bus.members) {
      if (to !== this && !to.cut && !this.#bus.loses(to)) deliver(to);
    }
  }

  #become(connected: boolean): void {
    if (this.connected === connected) return;
    this.connected = connected;
    for (const listener of [...this.#connections]) listener(connected);
  }
}

function away(): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', 'redis is away; try again in a moment');
}
