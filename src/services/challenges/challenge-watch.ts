import { type Caller, mayKnow } from '#src/domain/caller.ts';
import { type Challenge, canMove, isTerminal, saysMore, shownTo } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import { type DurationMs, isOver } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Trail } from '../trail.ts';
import type { ChallengeAccess, ChallengeRef } from './challenge-access.ts';
import { type ChallengeEndings, eventFields, gone } from './challenge-endings.ts';
import type { Challenges, ChallengeView } from './challenges.ts';
import type { CoarseTimer } from './coarse-timer.ts';

/** How long after its end an open challenge is looked at again, should nobody have said that it ended. */
const OVERDUE: DurationMs = 500;

export type WatchNews =
  | { readonly kind: 'challenge'; readonly challenge: Challenge }
  | { readonly kind: 'heartbeat'; readonly remainingMs: DurationMs }
  /** The last one. */
  | { readonly kind: 'finished'; readonly view: ChallengeView };

export interface ChallengeWatchesDependencies {
  readonly access: ChallengeAccess;
  readonly endings: ChallengeEndings;
  readonly views: Pick<Challenges, 'view'>;
  readonly challenges: Pick<ChallengeStore, 'read'>;
  readonly signals: Signals;
  readonly timer: CoarseTimer;
  readonly trail: Trail;
  readonly clock: Clock;
  /** Silence after which a heartbeat is sent. */
  readonly heartbeatMs: DurationMs;
  readonly maxPerSubject: number;
  readonly max: number;
}

/** Lets callers follow challenges. A watch mirrors the store: whoever reconnects gets the same answer. */
export class ChallengeWatches {
  readonly #deps: ChallengeWatchesDependencies;
  readonly #bySubject = new Map<string, number>();
  #open = 0;

  constructor(deps: ChallengeWatchesDependencies) {
    this.#deps = deps;
  }

  /** How many watches are open. */
  get open(): number {
    return this.#open;
  }

  /**
   * Follows a challenge until `close`; `wake` is called whenever `take` may have something. Throws
   * Fault(not-found, CHALLENGE_NOT_FOUND) and Fault(limited, LIMIT_EXCEEDED).
   */
  async follow(caller: Caller, ref: ChallengeRef, wake: () => void): Promise<Watch> {
    const { max, signals } = this.#deps;
    if (this.#open >= max) throw this.#tooMany(caller, ref.realm, 'streams', max);
    this.#open += 1;
    // Listening begins before reading, so that no change falls in between.
    let early: Challenge | undefined;
    let watch: Watch | undefined;
    const stop = signals.onChallenge(ref.challengeId, (challenge) => {
      if (watch) watch.note(challenge);
      else early = challenge;
    });
    const release = () => {
      stop();
      this.#open -= 1;
    };
    try {
      const challenge = await this.#deps.access.read(caller, ref);
      const leave = this.#enter(caller, challenge);
      watch = new Watch(this.#deps, caller, challenge, wake, () => {
        release();
        leave();
      });
      if (early) watch.note(early);
      return watch;
    } catch (error) {
      release();
      throw error;
    }
  }

  #enter(caller: Caller, challenge: Challenge): () => void {
    const { maxPerSubject } = this.#deps;
    const key = `${challenge.realm}\n${challenge.subject}`;
    const before = this.#bySubject.get(key) ?? 0;
    if (before >= maxPerSubject) {
      throw this.#tooMany(caller, challenge.realm, 'streams_per_subject', maxPerSubject, challenge);
    }
    this.#bySubject.set(key, before + 1);
    return () => {
      const left = (this.#bySubject.get(key) ?? 1) - 1;
      if (left > 0) this.#bySubject.set(key, left);
      else this.#bySubject.delete(key);
    };
  }

  #tooMany(caller: Caller, realm: string, limit: string, max: number, challenge?: Challenge): Fault {
    const { trail } = this.#deps;
    trail.refused(
      trail.draft('limit.hit', caller, {
        realm,
        ...(challenge ? eventFields(challenge) : {}),
        outcome: 'REFUSED',
        reason: 'LIMIT_EXCEEDED',
        facts: { limit },
      }),
    );
    return new Fault('limited', 'LIMIT_EXCEEDED', 'too many open challenge streams; close some first', {
      quota: { subject: limit, description: `at most ${max} at once` },
    });
  }
}

/**
 * One caller's view of one challenge. It keeps the latest state only, however slowly it is read: first the challenge as
 * it stands, then each change, heartbeats in silence, and one `finished`.
 */
export class Watch {
  readonly #deps: ChallengeWatchesDependencies;
  readonly #caller: Caller;
  readonly #wake: () => void;
  readonly #release: () => void;
  #challenge: Challenge;
  #news = true;
  #silent = false;
  #begun = false;
  #over = false;
  #cancelTimer: () => void = () => {};

  constructor(
    deps: ChallengeWatchesDependencies,
    caller: Caller,
    challenge: Challenge,
    wake: () => void,
    release: () => void,
  ) {
    this.#deps = deps;
    this.#caller = caller;
    this.#challenge = challenge;
    this.#wake = wake;
    this.#release = release;
  }

  /** Takes in a state of the challenge; older ones than what is known change nothing. */
  note(challenge: Challenge): void {
    if (this.#over || !isNewer(this.#challenge, challenge)) return;
    this.#challenge = challenge;
    this.#news = true;
    this.#wake();
  }

  /** The next piece of news, or undefined when there is none; after `finished` there never is. */
  async take(): Promise<WatchNews | undefined> {
    if (this.#over) return undefined;
    if (this.#silent && isOver(this.#challenge.expiresAt, this.#deps.clock.now())) await this.#lookAgain();
    const silent = this.#silent;
    const news = this.#news;
    if (!silent && !news) return undefined;
    this.#silent = false;
    this.#news = false;
    const now = this.#deps.clock.now();
    const shown = shownTo(this.#challenge, mayKnow(this.#caller), now);
    if (isTerminal(shown.state) && this.#begun) {
      this.close();
      return { kind: 'finished', view: await this.#deps.views.view(this.#caller, this.#challenge) };
    }
    if (this.#begun) {
      // What the caller may not know has changed nothing for them.
      const changed = news && shown === this.#challenge;
      if (!changed && !silent) return undefined;
      this.#arm(shown);
      if (changed) return { kind: 'challenge', challenge: shown };
      return { kind: 'heartbeat', remainingMs: Math.max(0, shown.expiresAt - now) };
    }
    this.#begun = true;
    this.#arm(shown);
    // An ended challenge is shown as it stands, and finished with the next call.
    this.#news = isTerminal(shown.state);
    return { kind: 'challenge', challenge: shown };
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancelTimer();
    this.#release();
  }

  #arm(shown: Challenge): void {
    const { timer, clock, heartbeatMs } = this.#deps;
    this.#cancelTimer();
    const untilOverdue = Math.max(0, shown.expiresAt - clock.now()) + OVERDUE;
    this.#cancelTimer = timer.after(Math.min(heartbeatMs, untilOverdue), () => {
      this.#silent = true;
      this.#wake();
    });
  }

  /** News may be lost between sidecars; the store is the truth. */
  async #lookAgain(): Promise<void> {
    const { challenges, endings } = this.#deps;
    if (isTerminal(this.#challenge.state)) return;
    const challenge = await challenges.read(this.#challenge.realm, this.#challenge.id);
    if (!challenge) throw gone();
    const truth = await endings.settled(challenge);
    if (!isNewer(this.#challenge, truth)) return;
    this.#challenge = truth;
    this.#news = true;
  }
}

function isNewer(known: Challenge, next: Challenge): boolean {
  if (isTerminal(known.state)) return false;
  if (canMove(known.state, next.state)) return true;
  if (known.state !== next.state) return false;
  const { delivery } = next;
  return known.chosenMethod !== next.chosenMethod || (delivery !== undefined && saysMore(delivery, known.delivery));
}
