import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type Factor, type FactorSummary, summaryOf } from '#src/domain/factor.ts';
import type { FactorChange } from '#src/domain/factor-change.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Method } from '#src/domain/method.ts';
import { type DurationMs, type EpochMs, isOver } from '#src/domain/time.ts';
import { totpKeyUri, totpManualKey } from '#src/domain/totp.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { ReceiptAuthority, SessionAuthority } from '../contracts.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { ChangeReceipts, type Permit } from './change-receipts.ts';
import { type FactorCall, FactorTrail } from './factor-trail.ts';
import type { TotpSeeds } from './totp-seeds.ts';

/** What this release enrols by BeginEnrollment. */
export const ENROLLABLE: readonly Method[] = ['totp'];

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
  readonly client: ClientContext;
  readonly requestId: string;
}

export interface BegunEnrollment {
  readonly factor: FactorSummary;
  readonly expiresAt: EpochMs;
  /** otpauth:// URI; carries the seed. */
  readonly keyUri: string;
  /** The seed for typing. */
  readonly manualKey: string;
}

export interface EnrollmentOptions {
  /** Methods that are switched on. */
  readonly methods: readonly Method[];
  /** Shown in the authenticator; no colon. */
  readonly issuer: string;
  /** How old the session of a first enrolment may be. */
  readonly firstFactorMaxSessionAgeMs: DurationMs;
  /** How long a begun enrolment can be confirmed. */
  readonly enrollmentTtlMs: DurationMs;
  /** Factors of one person, pending ones too. */
  readonly maxFactors: number;
}

export interface EnrollmentDependencies extends EnrollmentOptions {
  readonly factors: Pick<FactorStore, 'begin' | 'list' | 'read'>;
  readonly sessions: SessionAuthority;
  readonly receipts: ReceiptAuthority;
  readonly seeds: TotpSeeds;
  readonly claims: RequestClaims;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
}

/** Begins enrolments. Nothing is in use before it is confirmed (services/confirmation.ts). */
export class Enrollment {
  readonly #deps: EnrollmentDependencies;
  readonly #trail: FactorTrail;
  readonly #receipts: ChangeReceipts;

  constructor(deps: EnrollmentDependencies) {
    if (deps.issuer.includes(':')) throw new RangeError('the issuer shown in authenticators must not have a colon');
    this.#deps = deps;
    this.#trail = new FactorTrail(deps.trail, 'factor.enrollment_refused');
    this.#receipts = new ChangeReceipts(deps.receipts, this.#trail);
  }

  /**
   * The very first factor takes a young session of the person, every further one and every replacement the receipt of a
   * step-up. A repeat gets the same seed as long as it is unconfirmed, and never after.
   *
   * Faults: invalid FIELD_INVALID, REQUEST_ID_REUSED; unimplemented NOT_IMPLEMENTED; unauthenticated SESSION_INVALID;
   * denied NOT_OWNER, RECEIPT_MISMATCH; not-found FACTOR_NOT_FOUND; precondition METHOD_NOT_OFFERED, CONSENT_REQUIRED,
   * SESSION_TOO_OLD, STEP_UP_REQUIRED, RECEIPT_INVALID, RECEIPT_REDEEMED, FACTOR_STATE; limited LIMIT_EXCEEDED.
   */
  async begin(caller: Caller, command: BeginCommand): Promise<BegunEnrollment> {
    const { realm, subject, client, method } = command;
    const call: FactorCall = { caller, realm, subject, client, method };
    this.#checkMethod(call);
    const consent = this.#consent(call, command);
    const accountName = this.#accountName(call, command);
    const change: FactorChange = { kind: 'enroll', method };
    const permit =
      command.receipt === '' ? await this.#first(call, command, change) : await this.#further(call, command, change);
    return this.#store(call, command, { accountName, consent, permit, change });
  }

  #checkMethod(call: FactorCall): void {
    const { method } = call;
    if (method === undefined || method === 'backup_code') {
      const description = 'cannot be enrolled; backup codes come with the first factor and with RegenerateBackupCodes';
      throw this.#trail.refuse(call, invalidFields([{ field: 'method', description }]));
    }
    if (!ENROLLABLE.includes(method)) {
      const message = `method: enrolling ${method} comes with a later release; enrol totp`;
      throw this.#trail.refuse(call, new Fault('unimplemented', 'NOT_IMPLEMENTED', message, { metadata: { method } }));
    }
    if (!this.#deps.methods.includes(method)) {
      const message = `method: ${method} is switched off`;
      throw this.#trail.refuse(
        call,
        new Fault('precondition', 'METHOD_NOT_OFFERED', message, { metadata: { method } }),
      );
    }
  }

  #consent(call: FactorCall, { consent }: BeginCommand) {
    if (consent && consent.textVersion !== '' && consent.language !== '') return consent;
    const message = 'consent: the person has to agree to the method first; send the version and language of the text';
    throw this.#trail.refuse(call, new Fault('precondition', 'CONSENT_REQUIRED', message));
  }

  #accountName(call: FactorCall, { accountName, subject }: BeginCommand): string {
    if (accountName.includes(':')) {
      const violation = { field: 'account_name', description: 'must not have a colon' };
      throw this.#trail.refuse(call, invalidFields([violation]));
    }
    // A subject is the application's to choose, so a colon in it is no fault of this call.
    return accountName === '' ? subject.replaceAll(':', '-') : accountName;
  }

  /** Whether it really is the first is decided with the store's step. */
  async #first(call: FactorCall, command: BeginCommand, change: FactorChange): Promise<undefined> {
    const { clock, sessions, firstFactorMaxSessionAgeMs } = this.#deps;
    const { realm, subject, sessionToken } = command;
    if (sessionToken === '') {
      if (await this.#hasFactor(realm, subject)) throw this.#receipts.stepUpRequired(call, change);
      throw this.#trail.refuse(call, noSession('session_token: is needed for a first factor'));
    }
    const session = await sessions.authenticate(realm, sessionToken);
    if (!session) throw this.#trail.refuse(call, noSession('the session token is not good'));
    if (session.subject !== subject) {
      throw this.#trail.refuse(call, new Fault('denied', 'NOT_OWNER', 'the session belongs to somebody else'));
    }
    if (isOver(session.createdAt + firstFactorMaxSessionAgeMs, clock.now())) {
      if (await this.#hasFactor(realm, subject)) throw this.#receipts.stepUpRequired(call, change);
      const message = 'the session is too old for a first enrolment; the person has to sign in again';
      const details = { metadata: { maxAgeSeconds: String(firstFactorMaxSessionAgeMs / 1000) } };
      throw this.#trail.refuse(call, new Fault('precondition', 'SESSION_TOO_OLD', message, details));
    }
    return undefined;
  }

  async #further(call: FactorCall, command: BeginCommand, change: FactorChange): Promise<Permit> {
    const { realm, subject, method, replaces, sessionToken, receipt } = command;
    const touched = [method];
    if (replaces !== '') {
      const replaced = await this.#deps.factors.read(realm, replaces);
      if (replaced?.subject !== subject || replaced.state !== 'ACTIVE') throw this.#missing(call);
      if (replaced.method === 'backup_code') {
        const description = 'names backup codes; RegenerateBackupCodes replaces them';
        throw this.#trail.refuse(call, invalidFields([{ field: 'replaces', description }]));
      }
      touched.push(replaced.method);
    }
    const permit = await this.#receipts.admit(call, receipt, change, touched);
    if (sessionToken === '') return permit;
    const session = await this.#deps.sessions.authenticate(realm, sessionToken);
    if (!session) throw this.#trail.refuse(call, noSession('the session token is not good'));
    const foreign = session.subject !== subject || (permit.sessionId !== '' && permit.sessionId !== session.id);
    if (foreign) throw this.#receipts.mismatch(call, 'session');
    return permit;
  }

  async #store(
    call: FactorCall,
    command: BeginCommand,
    admitted: {
      readonly accountName: string;
      readonly consent: NonNullable<BeginCommand['consent']>;
      readonly permit: Permit | undefined;
      readonly change: FactorChange;
    },
  ): Promise<BegunEnrollment> {
    const { factors, clock, random, seeds, maxFactors, enrollmentTtlMs } = this.#deps;
    const { realm, subject, method, displayName, replaces } = command;
    const { accountName, consent, permit, change } = admitted;
    const now = clock.now();
    const row = { id: newId('factor', random.bytes(16)), realm, subject };
    const { seed, sealed } = seeds.make(row);
    const factor: Factor = {
      ...row,
      method,
      displayName,
      state: 'PENDING',
      sealedSecret: sealed,
      lastStep: -1,
      driftSteps: 0,
      replaces,
      createdAt: now,
      expiresAt: now + enrollmentTtlMs,
      codesLeft: 0,
    };
    const request = this.#claim(call.caller, command, factor.id);
    const own: FactorCall = { ...call, factorId: factor.id };
    const begun = await factors.begin({
      factor,
      consent: { id: newId('consent', random.bytes(16)), method, ...consent, grantedAt: now },
      firstOnly: permit === undefined,
      maxFactors,
      now,
      ...(permit ? { receipt: permit.burn } : {}),
      ...(request ? { request } : {}),
      events: [
        ...(permit ? [permit.event] : []),
        this.#trail.draft('consent.recorded', own, {
          facts: { text_version: consent.textVersion, language: consent.language },
        }),
        this.#trail.draft('factor.enrollment_begun', own, {
          facts: { first: String(permit === undefined), ...(replaces === '' ? {} : { replaces }) },
        }),
      ],
    });
    switch (begun.outcome) {
      case 'begun':
        return this.#answer(factor, seed, accountName);
      case 'repeat':
        return this.#repeat(call, Buffer.from(begun.seed).toString('utf8'), accountName);
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'not_first':
        throw this.#receipts.stepUpRequired(call, change);
      case 'receipt_spent':
        throw this.#receipts.spent(call);
      case 'replaces_missing':
        throw this.#missing(call);
      case 'too_many':
        throw this.#trail.refuse(
          call,
          new Fault('limited', 'LIMIT_EXCEEDED', `a person has at most ${maxFactors} factors; remove one first`, {
            quota: { subject: 'factors', description: `at most ${maxFactors} factors per person` },
          }),
        );
    }
  }

  /** The seed is read from the row, so that it is gone for everybody once it is confirmed, replaced or lapsed. */
  async #repeat(call: FactorCall, factorId: string, accountName: string): Promise<BegunEnrollment> {
    const { factors, clock, seeds } = this.#deps;
    const factor = await factors.read(call.realm, factorId);
    const pending = factor?.state === 'PENDING' && !isOver(factor.expiresAt, clock.now());
    if (pending && factor.subject === call.subject) return this.#answer(factor, seeds.open(factor), accountName);
    const message = 'the enrolment of this request id has ended; begin another with a new request id';
    throw this.#trail.refuse({ ...call, factorId }, new Fault('precondition', 'FACTOR_STATE', message));
  }

  #answer(factor: Factor, secret: Uint8Array, accountName: string): BegunEnrollment {
    return {
      factor: summaryOf(factor),
      expiresAt: factor.expiresAt,
      keyUri: totpKeyUri({ issuer: this.#deps.issuer, accountName, secret }),
      manualKey: totpManualKey(secret),
    };
  }

  #claim(caller: Caller, command: BeginCommand, seed: string): RequestClaim | undefined {
    const { realm, requestId, subject, method, displayName, sessionToken, receipt, replaces, accountName } = command;
    const { consent, client } = command;
    return this.#deps.claims.claim({
      realm,
      method: 'BeginEnrollment',
      caller,
      requestId,
      fields: [
        subject,
        method,
        displayName,
        sessionToken,
        receipt,
        replaces,
        accountName,
        consent?.textVersion ?? '',
        consent?.language ?? '',
        client.ipAddress,
        client.userAgent,
        client.deviceId,
      ],
      seed,
    });
  }

  async #hasFactor(realm: string, subject: string): Promise<boolean> {
    const held = await this.#deps.factors.list(realm, subject, this.#deps.clock.now());
    return held.some((factor) => factor.state === 'ACTIVE');
  }

  #missing(call: FactorCall): Fault {
    const message = 'replaces: the person has no such factor in use';
    return this.#trail.refuse(call, new Fault('not-found', 'FACTOR_NOT_FOUND', message));
  }
}

function noSession(message: string): Fault {
  return new Fault('unauthenticated', 'SESSION_INVALID', message);
}
