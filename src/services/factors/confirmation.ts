import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type Factor, type FactorSummary, summaryOf } from '#src/domain/factor.ts';
import { type BudgetLimits, isLocked } from '#src/domain/failure-budget.ts';
import { Fault } from '#src/domain/faults.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import { verifyTotp } from '#src/domain/totp.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Lanes } from '../lanes.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { Trail } from '../trail.ts';
import type { BackupCodeSets } from './backup-code-sets.ts';
import { type FactorCall, FactorTrail } from './factor-trail.ts';
import type { TotpSeeds } from './totp-seeds.ts';

export interface ConfirmCommand {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  /** As typed; nothing about it has been checked. */
  readonly code: string;
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
  readonly seeds: TotpSeeds;
  readonly backupCodes: BackupCodeSets;
  readonly box: SecretBox;
  readonly claims: RequestClaims;
  /** The same that proofs of challenges queue in. */
  readonly lanes: Lanes;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly budget: BudgetLimits;
  /** Steps to either side that a code may be off. */
  readonly totpWindow: number;
}

/** What a repeated confirmation is answered from. */
interface FirstAnswer {
  readonly factor: FactorSummary;
  /** The set that came with it, and its codes; shown again only while that set is the person's. */
  readonly set: string;
  readonly codes: readonly string[];
}

type Spent = Extract<Awaited<ReturnType<AttemptStore['spend']>>, { readonly outcome: 'spent' }>;

/**
 * Confirms enrolments by a first code. A wrong code costs an attempt like any other, so that enrolling is no way to
 * guess. The factor id names one seed: whoever begins another enrolment cannot have it confirmed by this one's code.
 */
export class Confirmation {
  readonly #deps: ConfirmationDependencies;
  readonly #trail: FactorTrail;

  constructor(deps: ConfirmationDependencies) {
    this.#deps = deps;
    this.#trail = new FactorTrail(deps.trail, 'factor.enrollment_refused');
  }

  /**
   * Faults: invalid PROOF_REFUSED, REQUEST_ID_REUSED; not-found FACTOR_NOT_FOUND; precondition FACTOR_STATE,
   * ENROLLMENT_EXPIRED; limited SUBJECT_LOCKED, LIMIT_EXCEEDED; data-loss INTEGRITY.
   */
  confirm(caller: Caller, command: ConfirmCommand): Promise<ConfirmedEnrollment> {
    const { realm, subject, client, factorId } = command;
    const call: FactorCall = { caller, realm, subject, client, factorId, method: 'totp' };
    const lane = `${realm}\n${subject}`;
    if (this.#deps.lanes.isFull(lane)) return Promise.reject(this.#tooMany(call));
    return this.#deps.lanes.run(lane, () => this.#attempt(call, command));
  }

  async #attempt(call: FactorCall, command: ConfirmCommand): Promise<ConfirmedEnrollment> {
    const { factors, attempts, budget, clock } = this.#deps;
    const { realm, subject, factorId } = command;
    const factor = await factors.read(realm, factorId);
    if (factor?.subject !== subject || factor.method === 'backup_code') throw this.#missing(call);
    const request = this.#claim(call.caller, command, '');
    // Somebody who asks again by the same request id gets the first answer; anybody else learns that it is done.
    if (factor.state === 'ACTIVE' && !request) throw this.#done(call);
    if (factor.state === 'PENDING' && isOver(factor.expiresAt, clock.now())) throw this.#lapsed(call);
    const spent = await attempts.spend({
      realm,
      subject,
      limits: budget,
      now: clock.now(),
      ...(request ? { request } : {}),
    });
    switch (spent.outcome) {
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'repeat':
        if (spent.approved) return this.#first(call, command, spent.seed);
        throw this.#wrong(call);
      case 'locked':
        throw this.#locked(call, spent.hard ? undefined : spent.until);
      case 'spent':
        if (factor.state === 'ACTIVE') throw this.#done(call);
        return this.#look(call, command, factor, spent);
    }
  }

  async #look(call: FactorCall, command: ConfirmCommand, factor: Factor, spent: Spent): Promise<ConfirmedEnrollment> {
    const { clock, metrics, seeds, totpWindow } = this.#deps;
    const matched = verifyTotp({
      secret: seeds.open(factor),
      code: command.code,
      now: clock.now(),
      driftSteps: factor.driftSteps,
      window: totpWindow,
      afterStep: factor.lastStep,
    });
    if (matched) return this.#store(call, command, factor, matched.step);
    metrics.proof('totp', 'wrong');
    const fault = this.#wrong(call, spent.attemptsLeft);
    if (spent.locks !== 'no') await this.#noteLock(call, spent);
    throw fault;
  }

  async #store(call: FactorCall, command: ConfirmCommand, factor: Factor, step: number): Promise<ConfirmedEnrollment> {
    const { factors, backupCodes, clock, metrics } = this.#deps;
    const { realm, subject, factorId } = command;
    const held = await factors.list(realm, subject, clock.now());
    const made = held.some(({ method }) => method === 'backup_code')
      ? undefined
      : await backupCodes.make(realm, subject, clock.now());
    const now = clock.now();
    const confirmed = { ...factor, state: 'ACTIVE', confirmedAt: now } as const;
    const request = this.#claim(
      call.caller,
      command,
      this.#sealed(command, {
        factor: summaryOf(confirmed),
        set: made?.set.factor.id ?? '',
        codes: made?.printed ?? [],
      }),
    );
    const result = await factors.confirm({
      realm,
      subject,
      factorId,
      step,
      driftSteps: factor.driftSteps,
      now,
      ...(made ? { backupCodes: made.set } : {}),
      ...(request ? { request } : {}),
      ...this.#events(call, factor, made?.set.factor.id ?? ''),
    });
    switch (result.outcome) {
      case 'confirmed':
        metrics.proof('totp', 'accepted');
        return {
          factor: summaryOf(result.factor),
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
    }
  }

  #events(
    call: FactorCall,
    factor: Factor,
    setId: string,
  ): Record<'events' | 'replacedEvents' | 'backupEvents', readonly EventDraft[]> {
    return {
      events: [this.#trail.draft('factor.enrolled', call)],
      replacedEvents:
        factor.replaces === ''
          ? []
          : [this.#trail.draft('factor.replaced', call, { factorId: factor.replaces, facts: { by: factor.id } })],
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
    const { realm, requestId, subject, factorId, code, client } = command;
    return this.#deps.claims.claim({
      realm,
      method: 'ConfirmEnrollment',
      caller,
      requestId,
      fields: [subject, factorId, code, client.ipAddress, client.userAgent, client.deviceId],
      seed,
    });
  }

  #wrong(call: FactorCall, attemptsLeft?: number): Fault {
    const known = attemptsLeft === undefined ? {} : { attemptsLeft: String(attemptsLeft) };
    const fault = new Fault('invalid', 'PROOF_REFUSED', 'code: is not the code that the authenticator shows now', {
      metadata: { field: 'code', ...known },
      violations: [{ field: 'code', description: 'is not the code that the authenticator shows now' }],
    });
    return this.#trail.refuse(call, fault, attemptsLeft === undefined ? {} : { attempts_left: String(attemptsLeft) });
  }

  /** Unless something has given the attempts back since. */
  async #noteLock(call: FactorCall, spent: Spent): Promise<void> {
    const { attempts, clock } = this.#deps;
    const budget = await attempts.read(call.realm, call.subject);
    if (!isLocked(budget, clock.now())) return;
    this.#trail.note(spent.locks === 'hard' ? 'subject.hard_locked' : 'subject.locked', call, {
      outcome: 'REFUSED',
      reason: 'SUBJECT_LOCKED',
      facts: { consecutive: String(budget.consecutive), locked_until_ms: String(budget.lockedUntil) },
    });
  }

  #locked(call: FactorCall, until: EpochMs | undefined): Fault {
    this.#deps.metrics.proof('totp', 'locked');
    const message =
      until === undefined ? 'the person is locked until an operator unlocks them' : 'the person is locked for a while';
    const details = until === undefined ? {} : { retryAfterMs: Math.max(0, until - this.#deps.clock.now()) };
    return this.#trail.refuse(call, new Fault('limited', 'SUBJECT_LOCKED', message, details));
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
