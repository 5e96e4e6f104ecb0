import { type Challenge, isTerminal } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';
import type {
  ApproveChallenge,
  BurnReceipt,
  ChallengeStore,
  OpenChallenge,
  SettleChallenge,
} from '#src/ports/challenge-store.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { Background } from './background.ts';
import type { ChallengeCopies } from './contract.ts';
import { isStoreAway } from './store-away.ts';

/** Copies on their way to Redis at once; what is above is not copied. */
const MAX_WRITING = 256;

export interface FrontedChallengeStoreOptions {
  /** The database itself: where everything is decided. */
  readonly store: ChallengeStore;
  readonly copies: ChallengeCopies;
  readonly dependencies: Dependencies;
  readonly log: Log;
}

/**
 * Challenges in PostgreSQL with copies in Redis. While the database answers it is read: an open copy may be behind, and
 * whoever asks again and again for an outcome must get it. Without the database the copy shows how the challenge stood;
 * nothing can be granted by it, since whatever ends a challenge or uses it up is decided in the database.
 */
export class FrontedChallengeStore implements ChallengeStore {
  readonly #options: FrontedChallengeStoreOptions;
  readonly #background: Background;

  constructor(options: FrontedChallengeStoreOptions) {
    this.#options = options;
    this.#background = new Background(MAX_WRITING, (error) => {
      options.log.debug('a copy of a challenge could not be kept', { error: String(error) });
    });
  }

  async open(command: OpenChallenge): ReturnType<ChallengeStore['open']> {
    const result = await this.#options.store.open(command);
    if (result.outcome === 'opened') this.#keep(command.challenge);
    return result;
  }

  repeatOf(request: RequestClaim, now: number): Promise<Repeat | undefined> {
    return this.#options.store.repeatOf(request, now);
  }

  async read(realm: string, challengeId: string): Promise<Challenge | undefined> {
    try {
      return await this.#options.store.read(realm, challengeId);
    } catch (error) {
      const copy = isStoreAway(error) ? await this.#copy(realm, challengeId) : undefined;
      if (copy) return copy;
      throw error;
    }
  }

  async advance(command: Parameters<ChallengeStore['advance']>[0]): ReturnType<ChallengeStore['advance']> {
    const result = await this.#options.store.advance(command);
    if (result.outcome === 'advanced') this.#keep(result.challenge);
    return result;
  }

  async noteDelivery(
    command: Parameters<ChallengeStore['noteDelivery']>[0],
  ): ReturnType<ChallengeStore['noteDelivery']> {
    const result = await this.#options.store.noteDelivery(command);
    if (result.outcome === 'noted') this.#keep(result.challenge);
    return result;
  }

  openOf(realm: string, subject: string, method: Method, now: number): Promise<readonly Challenge[]> {
    return this.#options.store.openOf(realm, subject, method, now);
  }

  async approve(command: ApproveChallenge): ReturnType<ChallengeStore['approve']> {
    const result = await this.#options.store.approve(command);
    if (result.outcome === 'approved') this.#keep(result.challenge);
    return result;
  }

  async settle(command: SettleChallenge): ReturnType<ChallengeStore['settle']> {
    const result = await this.#options.store.settle(command);
    if (result.outcome === 'settled') this.#keep(result.challenge);
    return result;
  }

  burnReceipt(command: BurnReceipt): ReturnType<ChallengeStore['burnReceipt']> {
    return this.#options.store.burnReceipt(command);
  }

  due(now: number, limit: number): Promise<readonly Challenge[]> {
    return this.#options.store.due(now, limit);
  }

  purge(before: number, limit: number): Promise<number> {
    return this.#options.store.purge(before, limit);
  }

  /** Resolves when nothing is on its way. */
  settled(): Promise<void> {
    return this.#background.settled();
  }

  #keep(challenge: Challenge): void {
    const { copies, dependencies } = this.#options;
    // EXPIRED by the clock alone is not stored, and may yet be stored as something else elsewhere.
    if (isTerminal(challenge.state) && challenge.settledAt === undefined) return;
    if (dependencies.state('redis')?.up !== false) this.#background.run(() => copies.put(challenge));
  }

  async #copy(realm: string, challengeId: string): Promise<Challenge | undefined> {
    const { copies, dependencies, log } = this.#options;
    if (dependencies.state('redis')?.up === false) return undefined;
    try {
      const copy = await copies.find(realm, challengeId);
      return copy?.realm === realm && copy.id === challengeId ? copy : undefined;
    } catch (error) {
      log.debug('a copy of a challenge could not be read', { error: String(error) });
      return undefined;
    }
  }
}
