import { shortenedAddress } from '#src/domain/address.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type Consent, consentBinding } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Method } from '#src/domain/method.ts';
import type { ConsentStore } from '#src/ports/consent-store.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { EventFields, Trail } from '../trail.ts';

export interface ConsentsDependencies {
  readonly consents: ConsentStore;
  readonly box: SecretBox;
  readonly claims: RequestClaims;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
}

/** A consent as callers see it: the address is shortened to its network; whoever needs all of it asks for an export. */
export interface ShownConsent extends Omit<Consent, 'sealedAddress'> {
  /** '' when unknown. */
  readonly network: string;
}

export interface RecordConsentCommand {
  readonly realm: string;
  readonly subject: string;
  readonly method: Method;
  readonly textVersion: string;
  /** BCP 47. */
  readonly language: string;
  readonly client: ClientContext;
  readonly requestId: string;
}

export type WithdrawConsentCommand = Pick<RecordConsentCommand, 'realm' | 'subject' | 'method' | 'requestId'>;

/** What people agreed to, method by method. */
export class Consents {
  readonly #deps: ConsentsDependencies;

  constructor(deps: ConsentsDependencies) {
    this.#deps = deps;
  }

  /**
   * Takes the place of an older consent to the method, and thaws the factors that a withdrawal had frozen; those frozen for
   * another reason stay so. Faults: invalid REQUEST_ID_REUSED.
   */
  async record(caller: Caller, command: RecordConsentCommand): Promise<ShownConsent> {
    const { consents, box, claims, clock, random } = this.#deps;
    const { realm, subject, method, textVersion, language, client, requestId } = command;
    const now = clock.now();
    const id = newId('consent', random.bytes(16));
    const said = { id, method, textVersion, language, grantedAt: now };
    const { ipAddress } = client;
    const sealedAddress =
      ipAddress === '' ? undefined : box.seal(Buffer.from(ipAddress, 'utf8'), consentBinding(realm, subject, id));
    const answer: ShownConsent = { ...said, network: shortenedAddress(ipAddress) };
    const request = claims.claim({
      realm,
      method: 'RecordConsent',
      caller,
      requestId,
      fields: [subject, method, textVersion, language, ipAddress, client.userAgent, client.deviceId],
      seed: sealAnswer(box, command, answer),
    });
    const draft = (type: EventType, fields: Partial<EventFields>) => this.#draft(type, caller, command, client, fields);
    const recorded = await consents.record({
      realm,
      subject,
      consent: { ...said, ...(sealedAddress && { sealedAddress }) },
      now,
      ...(request && { request }),
      events: [draft('consent.recorded', { facts: { text_version: textVersion, language } })],
      thawedEvents: [draft('factor.thawed', { reason: 'CONSENT_RECORDED' })],
    });
    switch (recorded.outcome) {
      case 'recorded':
        return answer;
      case 'repeat':
        return openAnswer(box, command, recorded.seed) as ShownConsent;
      case 'reused':
        throw requestIdReused();
    }
  }

  /**
   * Freezes the person's factors of the method: they are held and count as held, so no weaker method takes their place and
   * no first enrolment opens, but they prove nothing until a new consent. Faults: precondition CONSENT_REQUIRED when there
   * is none to withdraw; invalid REQUEST_ID_REUSED.
   */
  async withdraw(caller: Caller, command: WithdrawConsentCommand): Promise<ShownConsent> {
    const { consents, claims, clock } = this.#deps;
    const { realm, subject, method, requestId } = command;
    const now = clock.now();
    const request = claims.claim({
      realm,
      method: 'WithdrawConsent',
      caller,
      requestId,
      fields: [subject, method],
      seed: String(now),
    });
    const draft = (type: EventType, fields: Partial<EventFields> = {}) =>
      this.#draft(type, caller, command, undefined, fields);
    const withdrawn = await consents.withdraw({
      realm,
      subject,
      method,
      now,
      ...(request && { request }),
      events: [draft('consent.withdrawn')],
      frozenEvents: [draft('factor.frozen', { reason: 'CONSENT_WITHDRAWN' })],
    });
    switch (withdrawn.outcome) {
      case 'withdrawn':
        return this.#shown(realm, subject, withdrawn.consent);
      case 'repeat':
        return await this.#withdrawnAt(command, Number(Buffer.from(withdrawn.seed).toString('utf8')));
      case 'reused':
        throw requestIdReused();
      case 'none':
        throw noConsent();
    }
  }

  /** All that were ever given, oldest first, withdrawn ones too. */
  async list(realm: string, subject: string): Promise<readonly ShownConsent[]> {
    const all = await this.#deps.consents.list(realm, subject);
    return all.map((consent) => this.#shown(realm, subject, consent));
  }

  async #withdrawnAt({ realm, subject, method }: WithdrawConsentCommand, at: number): Promise<ShownConsent> {
    const all = await this.list(realm, subject);
    const own = all.find((consent) => consent.method === method && consent.withdrawnAt === at);
    // Only an erasure takes consents away.
    if (!own) throw noConsent();
    return own;
  }

  #shown(realm: string, subject: string, consent: Consent): ShownConsent {
    const { sealedAddress, ...said } = consent;
    return {
      ...said,
      network: shortenedAddress(addressOf(this.#deps.box, realm, subject, { ...said, sealedAddress })),
    };
  }

  #draft(
    type: EventType,
    caller: Caller,
    { realm, subject, method }: WithdrawConsentCommand,
    client: ClientContext | undefined,
    fields: Partial<EventFields>,
  ): EventDraft {
    return this.#deps.trail.draft(type, caller, {
      realm,
      subject,
      method,
      outcome: 'SUCCESS',
      ...(client?.ipAddress ? { ipAddress: client.ipAddress } : {}),
      ...(client?.userAgent ? { userAgent: client.userAgent } : {}),
      ...fields,
    });
  }
}

/** From where a consent was given, in full; '' when unknown. Throws Fault(data-loss, INTEGRITY). */
export function addressOf(
  box: SecretBox,
  realm: string,
  subject: string,
  consent: Pick<Consent, 'id'> & { readonly sealedAddress?: Uint8Array | undefined },
): string {
  if (!consent.sealedAddress) return '';
  const plain = box.open(consent.sealedAddress, consentBinding(realm, subject, consent.id));
  return Buffer.from(plain).toString('utf8');
}

function noConsent(): Fault {
  return new Fault('precondition', 'CONSENT_REQUIRED', 'method: there is no consent to it that could be withdrawn');
}
