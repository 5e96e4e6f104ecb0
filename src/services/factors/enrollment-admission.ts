import type { FactorChange } from '#src/domain/factor-change.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { type Method, measureForAdding } from '#src/domain/method.ts';
import { type DurationMs, isOver } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { ReceiptAuthority, SessionAuthority } from '../contracts.ts';
import { ChangeReceipts, type Permit } from './change-receipts.ts';
import type { FactorCall, FactorTrail } from './factor-trail.ts';

/** What of BeginEnrollment says that it may be done. */
export interface AdmissionCommand {
  readonly realm: string;
  readonly subject: string;
  readonly method: Method;
  /** '' for none. */
  readonly sessionToken: string;
  /** '' for none. */
  readonly receipt: string;
  /** '' for none. */
  readonly replaces: string;
}

export interface EnrollmentAdmissionDependencies {
  readonly factors: Pick<FactorStore, 'list' | 'read'>;
  readonly sessions: SessionAuthority;
  readonly receipts: ReceiptAuthority;
  readonly clock: Clock;
  /** How old the session of a first enrolment may be. */
  readonly firstFactorMaxSessionAgeMs: DurationMs;
}

/** Who may begin an enrolment: a young session for the very first factor, the receipt of a step-up for all others. */
export class EnrollmentAdmission {
  readonly #deps: EnrollmentAdmissionDependencies;
  readonly #trail: FactorTrail;
  readonly #receipts: ChangeReceipts;

  constructor(deps: EnrollmentAdmissionDependencies, trail: FactorTrail) {
    this.#deps = deps;
    this.#trail = trail;
    this.#receipts = new ChangeReceipts(deps.receipts, trail);
  }

  /** The receipt to burn with the enrolment; undefined for a first one. */
  admit(call: FactorCall, command: AdmissionCommand, change: FactorChange): Promise<Permit | undefined> {
    return command.receipt === '' ? this.#first(call, command, change) : this.#further(call, command, change);
  }

  stepUpRequired(call: FactorCall, change: FactorChange): Fault {
    return this.#receipts.stepUpRequired(call, change);
  }

  spent(call: FactorCall): Fault {
    return this.#receipts.spent(call);
  }

  /** Whether it really is the first is decided with the store's step. */
  async #first(call: FactorCall, command: AdmissionCommand, change: FactorChange): Promise<undefined> {
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

  async #further(call: FactorCall, command: AdmissionCommand, change: FactorChange): Promise<Permit> {
    const { realm, subject, method, replaces, sessionToken, receipt } = command;
    const { clock, factors } = this.#deps;
    const held = (await factors.list(realm, subject, clock.now())).filter(({ state }) => state === 'ACTIVE');
    const touched = [
      measureForAdding(
        method,
        held.map((factor) => factor.method),
      ),
    ];
    if (replaces !== '') {
      const replaced = await factors.read(realm, replaces);
      if (replaced?.subject !== subject || replaced.state !== 'ACTIVE') throw this.missing(call);
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

  async #hasFactor(realm: string, subject: string): Promise<boolean> {
    const held = await this.#deps.factors.list(realm, subject, this.#deps.clock.now());
    return held.some((factor) => factor.state === 'ACTIVE');
  }

  missing(call: FactorCall): Fault {
    const message = 'replaces: the person has no such factor in use';
    return this.#trail.refuse(call, new Fault('not-found', 'FACTOR_NOT_FOUND', message));
  }
}

function noSession(message: string): Fault {
  return new Fault('unauthenticated', 'SESSION_INVALID', message);
}
