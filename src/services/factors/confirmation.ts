import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { Factor, FactorSummary } from '#src/domain/factor.ts';
import { type BudgetLimits, isLocked } from '#src/domain/failure-budget.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import { isOver } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorProof, FactorStore } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Lanes } from '../lanes.ts';
import type { EnrollmentMethod, EnrollmentProof, EnrollmentVerdict } from '../methods/contract.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import { subjectLocked } from '../subject-locked.ts';
import type { Trail } from '../trail.ts';
import type { BackupCodeSets } from './backup-code-sets.ts';
import { describeFactor } from './describe-factor.ts';
import { factorTaken } from './enrollment.ts';
import { devicesForgotten, type FactorCall, FactorTrail } from './factor-trail.ts';

export interface ConfirmCommand {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  /** As it came; nothing about it has been checked. */
  readonly proof: EnrollmentProof;
  readonly client: ClientContext;
  readonly requestId: string;
}

export interface ConfirmedEnrollment {
  readonly factor: FactorSummary;
  /** As printed, with the first factor; empty if the person has a set already. */
  readonly backupCodes: readonly string[];
}

export interface ConfirmationDependencies {
  readonly factors: Pick<FactorStore, 'confirm' | 'list' | 'read'>;
  readonly attempts: Pick<AttemptStore, 'spend' | 'read'>;
  readonly methods: MethodRegistry;
  readonly backupCodes: BackupCodeSets;
  readonly box: SecretBox;
  readonly claims: RequestClaims;
  /** The same that proofs of challenges queue in. */
  readonly lanes: Lanes;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly budget: BudgetLimits;
}

/** What a repeated confirmation is answered from. */
interface FirstAnswer {
  readonly factor: FactorSummary;
  /** The set that came with it, and its codes; shown again only while that set is the person's. */
  readonly set: string;
  readonly codes: readonly string[];
}

type Spent = Extract<Awaited<ReturnType<AttemptStore['spend']>>, { readonly outcome: 'spent' }>;

type Wrong = Extract<EnrollmentVerdict, { readonly outcome: 'wrong' }>;

/**
 * Confirms enrolments by a first proof. A wrong code costs an attempt like any other, so that enrolling is no way to
 * guess; a signature costs none. The factor id names one enrolment: whoever begins another cannot have it confirmed by
 * this one's proof.
 */
export class Confirmation {
  readonly #deps: ConfirmationDependencies;
  readonly #trail: FactorTrail;

  constructor(deps: ConfirmationDependencies) {
    this.#deps = deps;
    this.#trail = new FactorTrail(deps.trail, 'factor.enrollment_refused');
  }

  /**
   * Faults: invalid PROOF_REFUSED, REQUEST_ID_REUSED; not-found FACTOR_NOT_FOUND; exists FACTOR_EXISTS; precondition
   * FACTOR_STATE, ENROLLMENT_EXPIRED; limited SUBJECT_LOCKED, LIMIT_EXCEEDED; data-loss INTEGRITY.
   */
  confirm(caller: Caller, command: ConfirmCommand): Promise<ConfirmedEnrollment> {
    const { realm, subject, client, factorId } = command;
    const call: FactorCall = { caller, realm, subject, client, factorId };
    const lane = `${realm}\n${subject}`;
    if (this.#deps.lanes.isFull(lane)) return Promise.reject(this.#tooMany(call));
    return this.#deps.lanes.run(lane, () => this.#attempt(call, command));
  }

  async #attempt(asked: FactorCall, command: ConfirmCommand): Promise<ConfirmedEnrollment> {
    const { factors, methods, attempts, budget, clock } = this.#deps;
    const { realm, subject, factorId } = command;
    const factor = await factors.read(realm, factorId);
    const method = factor && methods.enrollment(factor.method);
    if (factor?.subject !== subject || !method) throw this.#missing(asked);
    const call = { ...asked, method: factor.method };
    const request = this.#claim(call.caller, command, '');
    // Somebody who asks again by the same request id gets the first answer; anybody else learns that it is done.
    if (factor.state === 'ACTIVE' && !request) throw this.#done(call);
    if (factor.state === 'PENDING' && isOver(factor.expiresAt, clock.now())) throw this.#lapsed(call);
    const spent = await attempts.spend({
      realm,
      subject,
      limits: budget,
      now: clock.now(),
      ...(method.guessable ? {} : { free: true }),
      ...(request ? { request } : {}),
    });
    switch (spent.outcome) {
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'repeat':
        if (spent.approved) return this.#first(call, command, spent.seed);
        throw this.#wrong(call, repeatedWrong(command.proof));
      case 'locked':
        this.#deps.metrics.proof(factor.method, 'locked');
        throw this.#trail.refuse(call, subjectLocked(spent.hard ? undefined : spent.until - clock.now()));
      case 'spent':
        if (factor.state === 'ACTIVE') throw this.#done(call);
        return this.#look(call, command, { factor, method, spent });
    }
  }

  async #look(call: MethodCall, command: ConfirmCommand, attempt: Attempt): Promise<ConfirmedEnrollment> {
    const verdict = await attempt.method.check(attempt.factor, command.proof, this.#deps.clock.now());
    if (verdict.outcome === 'right') return this.#store(call, command, attempt, verdict.proof);
    throw await this.#refused(call, attempt, verdict);
  }

  async #refused(call: MethodCall, { method, spent }: Attempt, wrong: Wrong): Promise<Fault> {
    const { attempts, clock, metrics } = this.#deps;
    metrics.proof(call.method, 'wrong');
    const fault = this.#wrong(call, wrong, method.guessable ? spent.attemptsLeft : undefined);
    if (spent.locks !== 'no') {
      const budget = await attempts.read(call.realm, call.subject);
      // Unless something has given the attempts back since.
      if (isLocked(budget, clock.now())) this.#trail.locked(call, spent.locks, budget);
    }
    return fault;
  }

  async #store(
    call: MethodCall,
    command: ConfirmCommand,
    attempt: Attempt,
    proof: FactorProof,
  ): Promise<ConfirmedEnrollment> {
    const { factors, methods, backupCodes, clock, metrics } = this.#deps;
    const { realm, subject, factorId } = command;
    const { factor } = attempt;
    const held = await factors.list(realm, subject, clock.now());
    const made = held.some(({ method }) => method === 'backup_code')
      ? undefined
      : await backupCodes.make(realm, subject, clock.now());
    const now = clock.now();
    const confirmed = {
      ...factor,
      ...(proof.kind === 'made' ? { sealedSecret: proof.sealedSecret } : {}),
      state: 'ACTIVE',
      confirmedAt: now,
    } as const;
    const request = this.#claim(
      call.caller,
      command,
      this.#sealed(command, {
        factor: describeFactor(methods, confirmed),
        set: made?.set.factor.id ?? '',
        codes: made?.printed ?? [],
      }),
    );
    const result = await factors.confirm({
      realm,
      subject,
      factorId,
      proof,
      now,
      ...(made ? { backupCodes: made.set } : {}),
      ...(request ? { request } : {}),
      ...this.#events(call, factor, made?.set.factor.id ?? ''),
    });
    switch (result.outcome) {
      case 'confirmed':
        metrics.proof(call.method, 'accepted');
        return {
          factor: describeFactor(methods, result.factor),
          backupCodes: result.backupCodesStored ? (made?.printed ?? []) : [],
        };
      case 'repeat':
        return this.#first(call, command, result.seed);
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'missing':
        throw this.#missing(call);
      case 'lapsed':
        throw this.#lapsed(call);
      case 'already_active':
        throw this.#done(call);
      case 'proof_spent':
        throw await this.#refused(call, attempt, repeatedWrong(command.proof));
      case 'taken':
        throw this.#trail.refuse(call, factorTaken());
    }
  }

  #events(
    call: FactorCall,
    factor: Factor,
    setId: string,
  ): Record<'events' | 'replacedEvents' | 'backupEvents' | 'deviceEvents', readonly EventDraft[]> {
    return {
      events: [this.#trail.draft('factor.enrolled', call)],
      replacedEvents:
        factor.replaces === ''
          ? []
          : [this.#trail.draft('factor.replaced', call, { factorId: factor.replaces, facts: { by: factor.id } })],
      deviceEvents: factor.replaces === '' ? [] : [devicesForgotten(this.#trail, call)],
      backupEvents:
        setId === ''
          ? []
          : [this.#trail.draft('backup_codes.generated', { ...call, factorId: setId, method: 'backup_code' })],
    };
  }

  async #first(call: FactorCall, command: ConfirmCommand, seed: Uint8Array): Promise<ConfirmedEnrollment> {
    const { box, factors, clock } = this.#deps;
    const first = openAnswer(box, command, seed) as FirstAnswer;
    const held = await factors.list(call.realm, call.subject, clock.now());
    const live = held.some(({ id }) => id === first.set);
    return { factor: first.factor, backupCodes: live ? first.codes : [] };
  }

  #sealed(command: ConfirmCommand, answer: FirstAnswer): string {
    return sealAnswer(this.#deps.box, command, answer);
  }

  #claim(caller: Caller, command: ConfirmCommand, seed: string): RequestClaim | undefined {
    const { realm, requestId, subject, factorId, proof, client } = command;
    return this.#deps.claims.claim({
      realm,
      method: 'ConfirmEnrollment',
      caller,
      requestId,
      fields: [subject, factorId, ...proofFields(proof), client.ipAddress, client.userAgent, client.deviceId],
      seed,
    });
  }

  #wrong(call: FactorCall, { field, description }: Wrong, attemptsLeft?: number): Fault {
    const known = attemptsLeft === undefined ? {} : { attemptsLeft: String(attemptsLeft) };
    const fault = new Fault('invalid', 'PROOF_REFUSED', `${field}: ${description}`, {
      metadata: { field, ...known },
      violations: [{ field, description }],
    });
    return this.#trail.refuse(call, fault, attemptsLeft === undefined ? {} : { attempts_left: String(attemptsLeft) });
  }

  #missing(call: FactorCall): Fault {
    const message = 'factor_id: the person has no such enrolment; another may have been begun since';
    return this.#trail.refuse(call, new Fault('not-found', 'FACTOR_NOT_FOUND', message));
  }

  #tooMany(call: FactorCall): Fault {
    const message = 'too many codes for one person at once; send them one by one';
    const quota = { subject: 'waiting_answers', description: 'bounds the codes of one person that wait' };
    return this.#trail.refuse(call, new Fault('limited', 'LIMIT_EXCEEDED', message, { quota }));
  }

  #lapsed(call: FactorCall): Fault {
    const message = 'the enrolment was not confirmed in time; begin another';
    return this.#trail.refuse(call, new Fault('precondition', 'ENROLLMENT_EXPIRED', message));
  }

  #done(call: FactorCall): Fault {
    const details = { metadata: { state: 'ACTIVE' } };
    const message = 'the factor is in use already';
    return this.#trail.refuse(call, new Fault('precondition', 'FACTOR_STATE', message, details));
  }
}

type MethodCall = FactorCall & { readonly method: Method };

/** One confirmation on its way. */
interface Attempt {
  readonly factor: Factor;
  readonly method: EnrollmentMethod;
  readonly spent: Spent;
}

const FIELD: Readonly<Record<EnrollmentProof['kind'], string>> = {
  code: 'code',
  webauthn: 'webauthn_credential_json',
  push: 'push_signature',
};

/** For a proof that was looked at before, or that was used meanwhile. */
function repeatedWrong({ kind }: EnrollmentProof): Wrong {
  return { outcome: 'wrong', field: FIELD[kind], description: 'does not confirm the enrolment' };
}

/** For the fingerprint of a request; the text goes into a keyed digest and nowhere else. */
function proofFields(proof: EnrollmentProof): readonly (string | Uint8Array)[] {
  switch (proof.kind) {
    case 'code':
      return [proof.code];
    case 'webauthn':
      return [proof.kind, proof.credentialJson];
    case 'push':
      return [proof.kind, proof.signature];
  }
}
