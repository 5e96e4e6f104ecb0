import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type Consent, consentBinding, type Factor, type FactorSummary } from '#src/domain/factor.ts';
import type { FactorChange } from '#src/domain/factor-change.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Method } from '#src/domain/method.ts';
import { type DurationMs, type EpochMs, isOver } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { EnrollmentInput, EnrollmentMaterial, EnrollmentMethod, PreparedFactor } from '../methods/contract.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import type { Permit } from './change-receipts.ts';
import { describeFactor } from './describe-factor.ts';
import { EnrollmentAdmission, type EnrollmentAdmissionDependencies } from './enrollment-admission.ts';
import { type FactorCall, FactorTrail } from './factor-trail.ts';
import type { TemporaryPasses } from './temporary-passes.ts';

export interface BeginCommand {
  readonly realm: string;
  readonly subject: string;
  readonly method: Method;
  readonly displayName: string;
  /** '' for none. */
  readonly sessionToken: string;
  /** '' for none. */
  readonly receipt: string;
  /** '' for none. */
  readonly replaces: string;
  readonly consent: { readonly textVersion: string; readonly language: string } | undefined;
  /** '' means the subject. */
  readonly accountName: string;
  readonly phoneNumber: string;
  readonly pushSubscriptionJson: string;
  readonly devicePublicKey: Uint8Array;
  /** As typed; '' for none. */
  readonly temporaryPass: string;
  /** BCP 47; '' for the configured one. */
  readonly language: string;
  readonly client: ClientContext;
  readonly requestId: string;
}

export interface BegunEnrollment {
  readonly factor: FactorSummary;
  readonly expiresAt: EpochMs;
  readonly material: EnrollmentMaterial;
}

export interface EnrollmentOptions extends Pick<EnrollmentAdmissionDependencies, 'firstFactorMaxSessionAgeMs'> {
  /** Methods that are switched on. */
  readonly switchedOn: readonly Method[];
  /** How long a begun enrolment can be confirmed. */
  readonly enrollmentTtlMs: DurationMs;
  /** Factors of one person, pending ones too. */
  readonly maxFactors: number;
}

export interface EnrollmentDependencies extends EnrollmentOptions, EnrollmentAdmissionDependencies {
  readonly factors: Pick<FactorStore, 'begin' | 'list' | 'read'>;
  readonly methods: MethodRegistry;
  readonly passes: TemporaryPasses;
  readonly box: SecretBox;
  readonly claims: RequestClaims;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
}

/** What was checked on the way to the store. */
interface Admitted {
  readonly method: EnrollmentMethod;
  readonly input: EnrollmentInput;
  readonly permit: Permit | undefined;
  readonly change: FactorChange;
}

/** Begins enrolments, whatever the method. Nothing is in use before it is confirmed (services/confirmation.ts). */
export class Enrollment {
  readonly #deps: EnrollmentDependencies;
  readonly #trail: FactorTrail;
  readonly #admission: EnrollmentAdmission;

  constructor(deps: EnrollmentDependencies) {
    this.#deps = deps;
    this.#trail = new FactorTrail(deps.trail, 'factor.enrollment_refused');
    this.#admission = new EnrollmentAdmission(deps, this.#trail);
  }

  /**
   * The very first factor takes a young session of the person, and after a reset the operator's temporary pass; every
   * further one and every replacement the receipt of a step-up. A repeat gets the same material as long as the enrolment
   * is unconfirmed, and never after.
   *
   * Faults: invalid FIELD_INVALID, REQUEST_ID_REUSED, PROOF_REFUSED (a wrong pass); unauthenticated SESSION_INVALID;
   * denied NOT_OWNER, RECEIPT_MISMATCH; not-found FACTOR_NOT_FOUND; exists FACTOR_EXISTS; precondition
   * METHOD_NOT_OFFERED, CONSENT_REQUIRED, PASS_REQUIRED, SESSION_TOO_OLD, STEP_UP_REQUIRED, RECEIPT_INVALID,
   * RECEIPT_REDEEMED, FACTOR_STATE; limited LIMIT_EXCEEDED, SUBJECT_LOCKED; and those of the method.
   */
  async begin(caller: Caller, command: BeginCommand): Promise<BegunEnrollment> {
    const { realm, subject, client, method: name } = command;
    const call: FactorCall = { caller, realm, subject, client, method: name };
    const method = this.#method(call, name);
    this.#checkConsent(call, command);
    const input = this.#input(call, command);
    const change: FactorChange = { kind: 'enroll', method: name };
    const permit = await this.#admission.admit(call, command, change);
    return this.#store(call, command, { method, input, permit, change });
  }

  #method(call: FactorCall, name: Method): EnrollmentMethod {
    const { methods, switchedOn } = this.#deps;
    if (name === 'backup_code') {
      const description = 'cannot be enrolled; backup codes come with the first factor and with RegenerateBackupCodes';
      throw this.#trail.refuse(call, invalidFields([{ field: 'method', description }]));
    }
    const method = switchedOn.includes(name) ? methods.enrollment(name) : undefined;
    if (method) return method;
    const message = `method: ${name} is switched off`;
    throw this.#trail.refuse(
      call,
      new Fault('precondition', 'METHOD_NOT_OFFERED', message, { metadata: { method: name } }),
    );
  }

  /** One that is given has to be whole; one that stands is found with the store's step. */
  #checkConsent(call: FactorCall, { consent }: BeginCommand): void {
    if (consent && (consent.textVersion === '' || consent.language === '')) throw this.#noConsent(call);
  }

  #noConsent(call: FactorCall): Fault {
    const message = 'consent: the person has to agree to the method first; send the version and language of the text';
    return this.#trail.refuse(call, new Fault('precondition', 'CONSENT_REQUIRED', message));
  }

  #input(call: FactorCall, command: BeginCommand): EnrollmentInput {
    const { accountName, subject, displayName, phoneNumber, pushSubscriptionJson } = command;
    const { devicePublicKey, language, client } = command;
    if (accountName.includes(':')) {
      const violation = { field: 'account_name', description: 'must not have a colon' };
      throw this.#trail.refuse(call, invalidFields([violation]));
    }
    return {
      displayName,
      // A subject is the application's to choose, so a colon in it is no fault of this call.
      accountName: accountName === '' ? subject.replaceAll(':', '-') : accountName,
      phoneNumber,
      pushSubscriptionJson,
      devicePublicKey,
      language,
      client,
    };
  }

  async #store(call: FactorCall, command: BeginCommand, admitted: Admitted): Promise<BegunEnrollment> {
    const { factors, clock, random, passes, maxFactors } = this.#deps;
    const { realm, subject } = command;
    const { method, input, permit, change } = admitted;
    const row = { id: newId('factor', random.bytes(16)), realm, subject };
    const prepared = await this.#prepare(call, method, row, input);
    const factor = this.#pending(command, row, prepared);
    const consent = this.#consent(command);
    const request = this.#claim(call.caller, command, factor.id);
    // With a receipt the person has proven more than a pass does.
    const pass = permit ? undefined : await passes.spendOn(call, command.temporaryPass, request);
    const begun = await factors.begin({
      factor,
      ...(consent ? { consent } : {}),
      firstOnly: permit === undefined,
      maxFactors,
      now: clock.now(),
      ...(permit ? { receipt: permit.burn } : {}),
      ...(pass ? { pass: pass.digest } : {}),
      ...(request ? { request } : {}),
      events: this.#events({ ...call, factorId: factor.id }, command, permit, consent),
    });
    switch (begun.outcome) {
      case 'begun':
        return this.#answer(call, method, factor, input, false);
      case 'repeat':
        return this.#repeat(call, method, Buffer.from(begun.seed).toString('utf8'), input);
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'not_first':
        throw this.#admission.stepUpRequired(call, change);
      case 'receipt_spent':
        throw this.#admission.spent(call);
      case 'replaces_missing':
        throw this.#admission.missing(call);
      case 'no_consent':
        throw this.#noConsent(call);
      case 'taken':
        throw this.#trail.refuse(call, factorTaken());
      case 'pass_required':
        throw this.#trail.refuse(call, passes.required());
      case 'pass_wrong':
        throw await passes.wrong(call, pass);
      case 'too_many':
        throw this.#trail.refuse(
          call,
          new Fault('limited', 'LIMIT_EXCEEDED', `a person has at most ${maxFactors} factors; remove one first`, {
            quota: { subject: 'factors', description: `at most ${maxFactors} factors per person` },
          }),
        );
    }
  }

  /** What the method refuses is an event like any other refusal. */
  async #prepare(
    call: FactorCall,
    method: EnrollmentMethod,
    row: Pick<Factor, 'id' | 'realm' | 'subject'>,
    input: EnrollmentInput,
  ): Promise<PreparedFactor> {
    try {
      return await method.prepare(row, input);
    } catch (error) {
      throw error instanceof Fault && error.kind === 'invalid' ? this.#trail.refuse(call, error) : error;
    }
  }

  #pending(command: BeginCommand, row: Pick<Factor, 'id' | 'realm' | 'subject'>, prepared: PreparedFactor): Factor {
    const { clock, enrollmentTtlMs } = this.#deps;
    const now = clock.now();
    return {
      ...row,
      method: command.method,
      displayName: command.displayName === '' ? (prepared.displayName ?? '') : command.displayName,
      state: 'PENDING',
      sealedSecret: prepared.sealedSecret,
      ...(prepared.uniqueDigest ? { uniqueDigest: prepared.uniqueDigest } : {}),
      lastStep: -1,
      driftSteps: 0,
      replaces: command.replaces,
      createdAt: now,
      expiresAt: now + enrollmentTtlMs,
      codesLeft: 0,
    };
  }

  #consent({ realm, subject, method, consent, client }: BeginCommand): Consent | undefined {
    if (!consent) return undefined;
    const { box, clock, random } = this.#deps;
    const id = newId('consent', random.bytes(16));
    const address = Buffer.from(client.ipAddress, 'utf8');
    return {
      id,
      method,
      ...consent,
      grantedAt: clock.now(),
      ...(address.length === 0 ? {} : { sealedAddress: box.seal(address, consentBinding(realm, subject, id)) }),
    };
  }

  #events(
    call: FactorCall,
    { replaces }: BeginCommand,
    permit: Permit | undefined,
    consent: Consent | undefined,
  ): readonly EventDraft[] {
    const first = { first: String(permit === undefined), ...(replaces === '' ? {} : { replaces }) };
    const events = [this.#trail.draft('factor.enrollment_begun', call, { facts: first })];
    if (consent) {
      const facts = { text_version: consent.textVersion, language: consent.language };
      events.unshift(this.#trail.draft('consent.recorded', call, { facts }));
    }
    return permit ? [permit.event, ...events] : events;
  }

  async #repeat(
    call: FactorCall,
    method: EnrollmentMethod,
    factorId: string,
    input: EnrollmentInput,
  ): Promise<BegunEnrollment> {
    const { factors, clock } = this.#deps;
    const factor = await factors.read(call.realm, factorId);
    const pending = factor?.state === 'PENDING' && !isOver(factor.expiresAt, clock.now());
    if (pending && factor.subject === call.subject) return this.#answer(call, method, factor, input, true);
    const message = 'the enrolment of this request id has ended; begin another with a new request id';
    throw this.#trail.refuse({ ...call, factorId }, new Fault('precondition', 'FACTOR_STATE', message));
  }

  async #answer(
    { caller }: FactorCall,
    method: EnrollmentMethod,
    factor: Factor,
    input: EnrollmentInput,
    repeat: boolean,
  ): Promise<BegunEnrollment> {
    return {
      factor: describeFactor(this.#deps.methods, factor),
      expiresAt: factor.expiresAt,
      material: await method.material(caller, factor, input, repeat),
    };
  }

  #claim(caller: Caller, command: BeginCommand, seed: string): RequestClaim | undefined {
    const { realm, requestId, consent, client } = command;
    return this.#deps.claims.claim({
      realm,
      method: 'BeginEnrollment',
      caller,
      requestId,
      fields: [
        command.subject,
        command.method,
        command.displayName,
        command.sessionToken,
        command.receipt,
        command.replaces,
        command.accountName,
        consent?.textVersion ?? '',
        consent?.language ?? '',
        client.ipAddress,
        client.userAgent,
        client.deviceId,
      ],
      added: [
        command.phoneNumber,
        command.pushSubscriptionJson,
        command.devicePublicKey,
        command.temporaryPass,
        command.language,
      ],
      seed,
    });
  }
}

/** What nobody else may have, somebody has: a credential or a push endpoint. */
export function factorTaken(): Fault {
  const message = 'it is enrolled already; name the factor in `replaces` to replace it, or use another device';
  return new Fault('exists', 'FACTOR_EXISTS', message);
}
