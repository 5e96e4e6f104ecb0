import type { EventType } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import { isStopped } from '#src/domain/failure-budget.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { TrustedDevices } from '../devices/trusted-devices.ts';
import type { SessionEndings } from '../sessions/session-endings.ts';
import type { Trail } from '../trail.ts';
import type { NotMeClaims, NotMeLinks } from './not-me-links.ts';

/** Who follows the link: a browser that nobody vouches for. */
export interface NotMeVisit {
  readonly caller: Caller;
  readonly client: ClientContext;
}

export interface NotMeDependencies {
  readonly links: NotMeLinks;
  readonly attempts: Pick<AttemptStore, 'lock' | 'read'>;
  readonly factors: Pick<FactorStore, 'freeze'>;
  readonly devices: Pick<TrustedDevices, 'revoke'>;
  readonly endings: Pick<SessionEndings, 'end'>;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly log: Log;
}

/** What follows when a person says that a change they were told of was not theirs. */
export class NotMe {
  readonly #deps: NotMeDependencies;

  constructor(deps: NotMeDependencies) {
    this.#deps = deps;
  }

  /** What the link is about; changes nothing, since mail programs open links too. Undefined for one that is no good. */
  async view(
    _visit: NotMeVisit,
    token: string,
  ): Promise<{ readonly type: EventType; readonly at: EpochMs; readonly done: boolean } | undefined> {
    const claims = this.#deps.links.read(token);
    if (!claims) return undefined;
    return { type: claims.type, at: claims.at, done: await this.#isStopped(claims) };
  }

  /**
   * Stops every proof of the person until an operator unlocks them, ends all sessions, forgets all devices, freezes push.
   * True once all of that holds, again for the same link while it does. False for a link that is no good, for one that
   * was used before an operator unlocked the person (an old message must not lock them for ever), and for one about
   * somebody who was erased since.
   *
   * Throws Fault(unavailable) when not all of it could be done; the same link goes on with the rest.
   */
  async confirm(visit: NotMeVisit, token: string): Promise<boolean> {
    const { attempts, clock, digest, links, log, trail } = this.#deps;
    const claims = links.read(token);
    if (!claims) {
      trail.refused(
        trail.draft('request.refused', visit.caller, { realm: '', outcome: 'REFUSED', reason: 'TOKEN_INVALID' }),
      );
      return false;
    }
    const { realm, subject, noticeId, type, at, expiresAt } = claims;
    const word = await attempts.lock({
      realm,
      subject,
      word: { receiptId: `not-me:${noticeId}`, expiresAt },
      about: { at, mark: Buffer.from(digest.digest(ERASURE_MARK, markOf(realm, subject))).toString('base64url') },
      now: clock.now(),
      events: [
        trail.draft('subject.reported_not_me', visit.caller, {
          ...connectionOf(visit.client),
          realm,
          subject,
          outcome: 'REFUSED',
          reason: 'NOT_ME',
          facts: { about: type, notice_id: noticeId },
        }),
      ],
    });
    if (word.outcome === 'locked') {
      log.error('a person says that a change was not theirs; they are locked until an operator looks into it', {
        realm,
        about: type,
        correlationId: visit.caller.correlationId,
      });
    } else if (!(await this.#isStopped(claims))) return false;
    await this.#shut(visit.caller, claims);
    return true;
  }

  /** Each part by itself, so that one that fails holds up no other; all of them can be done again. */
  async #shut(caller: Caller, { realm, subject }: NotMeClaims): Promise<void> {
    const { devices, endings, factors, trail } = this.#deps;
    const frozen = trail.draft('factor.frozen', caller, {
      realm,
      subject,
      outcome: 'SUCCESS',
      reason: 'NOT_ME',
      method: 'push',
    });
    const parts = await Promise.allSettled([
      endings.end(realm, { kind: 'subject', subject, exceptSessionId: '' }, 'REVOKED', caller, { because: 'NOT_ME' }),
      devices.revoke(caller, { realm, subject, deviceId: '', reason: 'NOT_ME' }),
      factors.freeze({ realm, subject, methods: ['push'], reason: 'NOT_ME', events: [frozen] }),
    ]);
    for (const part of parts) if (part.status === 'rejected') throw part.reason;
  }

  async #isStopped({ realm, subject }: NotMeClaims): Promise<boolean> {
    return isStopped(await this.#deps.attempts.read(realm, subject));
  }
}

function connectionOf({ ipAddress, userAgent }: ClientContext) {
  return { ...(ipAddress === '' ? {} : { ipAddress }), ...(userAgent === '' ? {} : { userAgent }) };
}
