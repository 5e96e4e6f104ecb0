import { type Caller, mayKnow } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { SessionAuthority } from '../contracts.ts';
import type { Trail } from '../trail.ts';
import type { ChallengeEndings } from './challenge-endings.ts';

/** Names a challenge and what the caller shows to be let at it. */
export interface ChallengeRef {
  readonly realm: string;
  readonly challengeId: string;
  /** '' when the challenge was opened without a session. */
  readonly sessionToken: string;
}

export interface ChallengeAccessDependencies {
  readonly challenges: Pick<ChallengeStore, 'read'>;
  readonly sessions: SessionAuthority;
  readonly endings: ChallengeEndings;
  readonly trail: Trail;
}

/**
 * Lets at a challenge only those whom it is bound to. With a session: whoever brings a good token of the same session,
 * rotated or not. Without: the caller that opened it, or the portal. Everybody else learns as much as from an unknown id.
 */
export class ChallengeAccess {
  readonly #deps: ChallengeAccessDependencies;

  constructor(deps: ChallengeAccessDependencies) {
    this.#deps = deps;
  }

  /**
   * The challenge as it stands, never an open one whose time is up: that is settled first.
   * Throws Fault(not-found, CHALLENGE_NOT_FOUND); for operators Fault(denied, NOT_OWNER) if it is somebody else's.
   */
  async read(caller: Caller, ref: ChallengeRef): Promise<Challenge> {
    const { challenges, endings } = this.#deps;
    const known = isId('challenge', ref.challengeId);
    const challenge = known ? await challenges.read(ref.realm, ref.challengeId) : undefined;
    if (!challenge) throw this.#refuse(caller, ref, undefined);
    if (!(await this.#isBound(caller, ref, challenge))) throw this.#refuse(caller, ref, challenge);
    return endings.settled(challenge);
  }

  /**
   * The challenge for a device of the person's, by a factor that it offers; the caller then has to see the device's
   * signature. Throws Fault(denied, NOT_OWNER) for everything else alike.
   */
  async readAsDevice(
    caller: Caller,
    ref: Pick<ChallengeRef, 'realm' | 'challengeId'>,
    factorId: string,
  ): Promise<Challenge> {
    const { challenges, endings } = this.#deps;
    const known = isId('challenge', ref.challengeId);
    const challenge = known ? await challenges.read(ref.realm, ref.challengeId) : undefined;
    if (challenge?.offers.some((offer) => offer.method === 'push' && offer.factorId === factorId)) {
      return endings.settled(challenge);
    }
    this.#record(caller, ref, challenge);
    throw new Fault('denied', 'NOT_OWNER', 'there is no such challenge for this device');
  }

  async #isBound(caller: Caller, ref: ChallengeRef, challenge: Challenge): Promise<boolean> {
    if (challenge.sessionId === '') return caller.name === challenge.openedBy || caller.roles.has('portal');
    if (ref.sessionToken === '') return false;
    const session = await this.#deps.sessions.authenticate(ref.realm, ref.sessionToken);
    return session?.id === challenge.sessionId;
  }

  #refuse(caller: Caller, ref: ChallengeRef, challenge: Challenge | undefined): Fault {
    this.#record(caller, ref, challenge);
    if (challenge && caller.roles.has('operator')) {
      return new Fault('denied', 'NOT_OWNER', 'the challenge is bound to another session or caller');
    }
    return new Fault('not-found', 'CHALLENGE_NOT_FOUND', 'there is no such challenge for this caller and session');
  }

  #record(caller: Caller, ref: Pick<ChallengeRef, 'realm'>, challenge: Challenge | undefined): void {
    const { trail } = this.#deps;
    const owner = challenge
      ? { subject: challenge.subject, challengeId: challenge.id, sessionId: challenge.sessionId }
      : {};
    trail.refused(
      trail.draft('request.refused', caller, {
        realm: ref.realm,
        outcome: 'REFUSED',
        reason: challenge ? 'NOT_OWNER' : 'CHALLENGE_NOT_FOUND',
        ...owner,
      }),
    );
  }
}

/** What a caller is told when the challenge has ended before it could be answered. */
export function challengeEnded(caller: Caller, challenge: Challenge): Fault {
  const state = challenge.state === 'LOCKED' && !mayKnow(caller) ? 'EXPIRED' : challenge.state;
  return new Fault('precondition', 'CHALLENGE_ENDED', 'the challenge has ended; open a new one', {
    metadata: { challengeId: challenge.id, state },
    preconditions: [{ type: 'CHALLENGE', subject: challenge.id, description: `is ${state}` }],
  });
}
