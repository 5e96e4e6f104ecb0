import type { Factor } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import { isSameBytes } from '#src/domain/same-bytes.ts';
import { isOver } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';

/** Realm in base64url, factor id, and 32 bytes in base64url. */
const FORM = /^([A-Za-z0-9_-]{1,128})\.(fac_[0-9a-z]{26})\.([A-Za-z0-9_-]{43})$/;

/**
 * Links with which a browser enrols itself for a person. Whoever holds one can put a device of their own there, so it is
 * good for one pending factor, once, and as long as that is pending: the confirmation that takes it makes the factor
 * active, and beginning another enrolment drops it. It is a keyed digest of the row: nothing is stored that could leak.
 */
export class PushTickets {
  readonly #factors: Pick<FactorStore, 'read'>;
  readonly #digest: KeyedDigest;
  readonly #clock: Clock;
  readonly #realms: readonly string[];

  constructor(deps: {
    readonly factors: Pick<FactorStore, 'read'>;
    readonly digest: KeyedDigest;
    readonly clock: Clock;
    /** That this sidecar serves. */
    readonly realms: readonly string[];
  }) {
    this.#factors = deps.factors;
    this.#digest = deps.digest;
    this.#clock = deps.clock;
    this.#realms = deps.realms;
  }

  /** A secret; the same for the same factor. */
  make(factor: Pick<Factor, 'id' | 'realm' | 'subject'>): string {
    const realm = Buffer.from(factor.realm, 'utf8').toString('base64url');
    return [realm, factor.id, this.#seal(factor).toString('base64url')].join('.');
  }

  /** The pending factor. Throws Fault(precondition, ENROLLMENT_EXPIRED), whatever is wrong with the ticket. */
  async open(ticket: string): Promise<Factor> {
    const [, realmPart = '', factorId = '', seal = ''] = FORM.exec(ticket) ?? [];
    const realm = Buffer.from(realmPart, 'base64url').toString('utf8');
    const known = this.#realms.includes(realm) && isId('factor', factorId);
    const factor = known ? await this.#factors.read(realm, factorId) : undefined;
    if (!factor || !isSameBytes(this.#seal(factor), Buffer.from(seal, 'base64url'))) throw expired();
    const waits = factor.method === 'push' && factor.state === 'PENDING' && factor.sealedSecret.length === 0;
    if (!waits || isOver(factor.expiresAt, this.#clock.now())) throw expired();
    return factor;
  }

  #seal({ realm, subject, id }: Pick<Factor, 'id' | 'realm' | 'subject'>): Buffer {
    return Buffer.from(this.#digest.digest('push.ticket', [realm, subject, id].join('\n')));
  }
}

function expired(): Fault {
  return new Fault('precondition', 'ENROLLMENT_EXPIRED', 'the link was used, or its time is up; ask for another');
}
