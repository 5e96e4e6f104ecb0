import type { Caller } from '#src/domain/caller.ts';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Repeat } from '#src/ports/intents.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import type { Counts, SubjectStore } from '#src/ports/subject-store.ts';
import type { TrustedDeviceStore } from '#src/ports/trusted-device-store.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { SessionEndings } from '../sessions/session-endings.ts';
import type { Trail } from '../trail.ts';

export interface ErasureDependencies {
  readonly subjects: Pick<SubjectStore, 'erase' | 'known'>;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly devices: Pick<TrustedDeviceStore, 'list'>;
  readonly endings: Pick<SessionEndings, 'end'>;
  readonly claims: RequestClaims;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly clock: Clock;
}

export interface EraseCommand {
  readonly realm: string;
  readonly subject: string;
  /** For the trail; it stays readable, so it should not name the person. */
  readonly reason: string;
  readonly requestId: string;
}

/**
 * Erases a person (GDPR article 17). First sessions end, through the session store, so that every sidecar refuses them; then
 * one unit deletes the rest and destroys the key of the person's audit fields. What was begun and not finished, as by a
 * crash in between, is finished by the same call again.
 */
export class Erasure {
  readonly #deps: ErasureDependencies;

  constructor(deps: ErasureDependencies) {
    this.#deps = deps;
  }

  /** Somebody who is not known is erased with zeros. Faults: invalid REQUEST_ID_REUSED. */
  async erase(caller: Caller, command: EraseCommand): Promise<Counts> {
    const { subjects, endings, digest, trail, clock } = this.#deps;
    const { realm, subject, reason } = command;
    // Read first: where the database is away nothing is half done, and a repeat does nothing again.
    const held = await this.#held(realm, subject);
    const asked = this.#claim(caller, command, { ...held, sessions: 0 });
    const known = asked && (await subjects.known(asked, clock.now()));
    if (known) return repeated(known);
    const target = { kind: 'subject', subject, exceptSessionId: '' } as const;
    const ended = await endings.end(realm, target, 'ERASED', caller);
    // What is still being folded would come after, and name the person anew.
    await trail.settle(realm, subject);
    const counts: Counts = { ...held, sessions: ended.length };
    const request = this.#claim(caller, command, counts);
    const event = trail.draft('subject.erased', caller, {
      realm,
      subject,
      outcome: 'SUCCESS',
      ...(reason === '' ? {} : { facts: { note: reason } }),
    });
    const erased = await subjects.erase({
      realm,
      subject,
      mark: Buffer.from(digest.digest(ERASURE_MARK, markOf(realm, subject))).toString('base64url'),
      now: clock.now(),
      ...(request && { request }),
      events: [event],
    });
    return erased.outcome === 'erased' ? counts : repeated(erased);
  }

  #claim(caller: Caller, { realm, subject, reason, requestId }: EraseCommand, counts: Counts) {
    return this.#deps.claims.claim({
      realm,
      method: 'EraseSubject',
      caller,
      requestId,
      fields: [subject, reason],
      seed: JSON.stringify(counts),
    });
  }

  async #held(realm: string, subject: string): Promise<Pick<Counts, 'factors' | 'devices'>> {
    const { factors, devices, clock } = this.#deps;
    const now = clock.now();
    const held = await factors.list(realm, subject, now);
    const own = held.filter(({ method }) => method !== 'backup_code');
    return { factors: own.length, devices: (await devices.list(realm, subject, now)).length };
  }
}

function repeated(known: Repeat): Counts {
  if (known.outcome === 'reused') throw requestIdReused();
  return JSON.parse(Buffer.from(known.seed).toString('utf8')) as Counts;
}
