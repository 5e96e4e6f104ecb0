import type { Caller } from '../domain/caller.ts';
import { METHODS } from '../domain/method.ts';
import { newTemporaryPass, PASS_BYTES, passDigestInput } from '../domain/temporary-pass.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';
import type { AttemptStore } from '../ports/attempt-store.ts';
import type { FactorStore } from '../ports/factor-store.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '../ports/runtime.ts';
import type { SessionStore } from '../ports/session-store.ts';
import type { SubjectStore } from '../ports/subject-store.ts';
import { PASS_PURPOSE } from './factors/temporary-passes.ts';
import { type RequestClaims, requestIdReused } from './request-claims.ts';
import { openAnswer, sealAnswer } from './sealed-answer.ts';
import type { SessionEndings } from './sessions/session-endings.ts';
import type { Trail } from './trail.ts';

export interface OperationsDependencies {
  readonly attempts: Pick<AttemptStore, 'unlock'>;
  readonly factors: Pick<FactorStore, 'thaw'>;
  readonly subjects: Pick<SubjectStore, 'reset'>;
  readonly sessions: Pick<SessionStore, 'list'>;
  readonly endings: Pick<SessionEndings, 'end'>;
  readonly claims: RequestClaims;
  readonly secrets: SecretBox;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  /** How long a temporary pass can be used. */
  readonly passLifeMs: DurationMs;
}

export interface ResetCommand {
  readonly realm: string;
  readonly subject: string;
  /** For the trail. */
  readonly reason: string;
  readonly requestId: string;
}

export interface HandedPass {
  /** As printed; shown this once. */
  readonly pass: string;
  readonly expiresAt: EpochMs;
}

/** More than any person's sessions. */
const ALL_SESSIONS = 200;

/** What operators do to people's records; every act is an event with the operator's reason. */
export class Operations {
  readonly #deps: OperationsDependencies;

  constructor(deps: OperationsDependencies) {
    this.#deps = deps;
  }

  /**
   * Gives a person their attempts back, after the short lock, the hard stop, or their own word that it was not them; what
   * that word froze proves again. An unlock of somebody not locked changes nothing.
   */
  async unlock(
    caller: Caller,
    realm: string,
    subject: string,
    reason: string,
  ): Promise<{ readonly wasLocked: boolean }> {
    const { attempts, factors, trail } = this.#deps;
    const about = { realm, subject, outcome: 'SUCCESS', facts: { note: reason } } as const;
    const thawed = trail.draft('factor.thawed', caller, { ...about, reason: 'NOT_ME' });
    // First what is frozen: the call is repeated until the lock is gone too, and that answers whether there was one.
    await factors.thaw({ realm, subject, methods: METHODS, reason: 'NOT_ME', events: [thawed] });
    return attempts.unlock(realm, subject, [trail.draft('subject.unlocked', caller, about)]);
  }

  /**
   * For somebody who has lost every factor: removes them all, revokes the devices, ends the sessions, and hands out a
   * pass without which nobody can enrol a first factor for the person. A repeated request answers the same pass, and
   * finishes what the first one could not.
   *
   * Faults: invalid REQUEST_ID_REUSED; unavailable STORE_UNAVAILABLE, AUDIT_UNAVAILABLE.
   */
  async reset(caller: Caller, command: ResetCommand): Promise<HandedPass> {
    const { claims, clock, digest, endings, passLifeMs, random, secrets, subjects, trail } = this.#deps;
    const { realm, subject, reason, requestId } = command;
    const now = clock.now();
    const { printed, symbols } = newTemporaryPass(random.bytes(PASS_BYTES));
    const made: StoredReset = { pass: printed, expiresAt: now + passLifeMs, at: now };
    const request = claims.claim({
      realm,
      method: 'ResetSubject',
      caller,
      requestId,
      fields: [subject, reason],
      seed: sealAnswer(secrets, command, made),
    });
    const about = { realm, subject } as const;
    const done = await subjects.reset({
      realm,
      subject,
      pass: {
        digest: digest.digest(PASS_PURPOSE, passDigestInput(realm, subject, symbols)),
        expiresAt: made.expiresAt,
      },
      now,
      ...(request ? { request } : {}),
      events: [trail.draft('subject.reset', caller, { ...about, outcome: 'SUCCESS', facts: { note: reason } })],
    });
    switch (done.outcome) {
      case 'reset':
        await endings.end(realm, { kind: 'subject', subject, exceptSessionId: '' }, 'OPERATOR', caller);
        return handed(made);
      case 'repeat': {
        const first = openAnswer(secrets, command, done.seed) as StoredReset;
        await this.#endSessionsFrom(caller, command, first.at);
        return handed(first);
      }
      case 'reused': {
        const refused = { ...about, outcome: 'REFUSED', reason: 'REQUEST_ID_REUSED' } as const;
        trail.refused(trail.draft('request.refused', caller, refused));
        throw requestIdReused();
      }
    }
  }

  /** Those that were there at the reset; a repeat does not touch what the person has begun since. */
  async #endSessionsFrom(caller: Caller, { realm, subject }: ResetCommand, at: EpochMs): Promise<void> {
    const { clock, endings, sessions } = this.#deps;
    const page = { realm, subject, limit: ALL_SESSIONS, now: clock.now() };
    const open = await sessions.list({ ...page, includeEnded: false });
    // Of those that have ended too this sidecar is to take note: who ended them may not have lived to tell it.
    const newest = await sessions.list({ ...page, includeEnded: true });
    const older = [...open, ...newest].filter(({ createdAt }) => createdAt <= at);
    if (older.length === 0) return;
    const sessionIds = [...new Set(older.map(({ id }) => id))];
    await endings.end(realm, { kind: 'ids', sessionIds, subject }, 'OPERATOR', caller);
  }
}

interface StoredReset extends HandedPass {
  readonly at: EpochMs;
}

function handed({ pass, expiresAt }: StoredReset): HandedPass {
  return { pass, expiresAt };
}
