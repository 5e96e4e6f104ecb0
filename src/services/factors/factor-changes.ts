import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type FactorSummary, summaryOf } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { ReceiptAuthority } from '../contracts.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { Trail } from '../trail.ts';
import type { BackupCodeSets } from './backup-code-sets.ts';
import { ChangeReceipts } from './change-receipts.ts';
import { describeFactor } from './describe-factor.ts';
import { devicesForgotten, type FactorCall, FactorTrail } from './factor-trail.ts';

export interface RemoveCommand {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  readonly receipt: string;
  readonly client: ClientContext;
  readonly requestId: string;
}

export type RegenerateCommand = Omit<RemoveCommand, 'factorId'>;

export interface RegeneratedCodes {
  readonly factor: FactorSummary;
  /** As printed. */
  readonly backupCodes: readonly string[];
}

export interface FactorChangeDependencies {
  readonly factors: Pick<FactorStore, 'list' | 'read' | 'remove' | 'replaceBackupCodes'>;
  readonly receipts: ReceiptAuthority;
  readonly backupCodes: BackupCodeSets;
  readonly methods: MethodRegistry;
  readonly box: SecretBox;
  readonly claims: RequestClaims;
  readonly trail: Trail;
  readonly clock: Clock;
  /** One active factor of these must remain; empty where people may have none. */
  readonly requiredMethods: readonly Method[];
}

/** Removes factors and renews backup codes, each by the receipt of a step-up for that very change. */
export class FactorChanges {
  readonly #deps: FactorChangeDependencies;
  readonly #trail: FactorTrail;
  readonly #receipts: ChangeReceipts;

  constructor(deps: FactorChangeDependencies) {
    this.#deps = deps;
    this.#trail = new FactorTrail(deps.trail, 'factor.change_refused');
    this.#receipts = new ChangeReceipts(deps.receipts, this.#trail);
  }

  /** All factors of a person, oldest first; no secrets. */
  async list(realm: string, subject: string): Promise<readonly FactorSummary[]> {
    const held = await this.#deps.factors.list(realm, subject, this.#deps.clock.now());
    return held.map((factor) => describeFactor(this.#deps.methods, factor));
  }

  /**
   * Faults: denied RECEIPT_MISMATCH; not-found FACTOR_NOT_FOUND; precondition STEP_UP_REQUIRED, RECEIPT_INVALID,
   * RECEIPT_REDEEMED, LAST_FACTOR; invalid REQUEST_ID_REUSED.
   */
  async remove(caller: Caller, command: RemoveCommand): Promise<void> {
    const { factors, claims, clock, requiredMethods } = this.#deps;
    const { realm, subject, factorId, receipt, client, requestId } = command;
    const stored = await factors.read(realm, factorId);
    const factor = stored?.subject === subject ? stored : undefined;
    const call: FactorCall = {
      caller,
      realm,
      subject,
      client,
      factorId,
      ...(factor ? { method: factor.method } : {}),
    };
    // A factor that is gone is not refused yet: it may have gone by this very request.
    const permit = await this.#receipts.admit(
      call,
      receipt,
      { kind: 'remove', factorId },
      factor ? [factor.method] : [],
    );
    const request = claims.claim({
      realm,
      method: 'RemoveFactor',
      caller,
      requestId,
      fields: [subject, factorId, receipt, client.ipAddress, client.userAgent, client.deviceId],
      seed: '',
    });
    const removed = await factors.remove({
      realm,
      subject,
      factorId,
      receipt: permit.burn,
      mustKeepOneOf: requiredMethods,
      now: clock.now(),
      ...(request ? { request } : {}),
      events: [permit.event, this.#trail.draft('factor.removed', call)],
      deviceEvents: [devicesForgotten(this.#trail, call)],
    });
    switch (removed.outcome) {
      case 'removed':
      case 'repeat':
        return;
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'receipt_spent':
        throw this.#receipts.spent(call);
      case 'missing':
        throw this.#trail.refuse(
          call,
          new Fault('not-found', 'FACTOR_NOT_FOUND', 'factor_id: the person has no such factor'),
        );
      case 'last_factor':
        throw this.#trail.refuse(
          call,
          new Fault(
            'precondition',
            'LAST_FACTOR',
            'the policy requires a factor and this is the last one; replace it',
            {
              metadata: { requiredMethods: requiredMethods.join(',') },
              preconditions: [{ type: 'LAST_FACTOR', subject: factorId, description: 'is the last factor' }],
            },
          ),
        );
    }
  }

  /**
   * Faults: denied RECEIPT_MISMATCH, also when the proof was itself a backup code; precondition STEP_UP_REQUIRED,
   * RECEIPT_INVALID, RECEIPT_REDEEMED, FACTOR_STATE; invalid REQUEST_ID_REUSED; limited LIMIT_EXCEEDED.
   */
  async regenerateBackupCodes(caller: Caller, command: RegenerateCommand): Promise<RegeneratedCodes> {
    const { factors, backupCodes, box, claims, clock } = this.#deps;
    const { realm, subject, receipt, client, requestId } = command;
    const call: FactorCall = { caller, realm, subject, client, method: 'backup_code' };
    const permit = await this.#receipts.admit(call, receipt, { kind: 'regenerate' }, ['backup_code']);
    await this.#checkNotAlone(call);
    const { set, printed } = await backupCodes.make(realm, subject, clock.now());
    const answer: RegeneratedCodes = { factor: summaryOf(set.factor), backupCodes: printed };
    const request = claims.claim({
      realm,
      method: 'RegenerateBackupCodes',
      caller,
      requestId,
      fields: [subject, receipt, client.ipAddress, client.userAgent, client.deviceId],
      seed: sealAnswer(box, command, answer),
    });
    const own: FactorCall = { ...call, factorId: set.factor.id };
    const replaced = await factors.replaceBackupCodes({
      realm,
      subject,
      set,
      receipt: permit.burn,
      now: clock.now(),
      ...(request ? { request } : {}),
      events: [permit.event, this.#trail.draft('backup_codes.regenerated', own)],
    });
    switch (replaced.outcome) {
      case 'replaced':
        return answer;
      case 'repeat':
        return openAnswer(box, command, replaced.seed) as RegeneratedCodes;
      case 'reused':
        throw this.#trail.refuse(call, requestIdReused());
      case 'receipt_spent':
        throw this.#receipts.spent(call);
    }
  }

  /** Backup codes stand in for a factor, so there has to be one. */
  async #checkNotAlone(call: FactorCall): Promise<void> {
    const held = await this.#deps.factors.list(call.realm, call.subject, this.#deps.clock.now());
    if (held.some(({ method, state }) => method !== 'backup_code' && state === 'ACTIVE')) return;
    const message = 'backup codes come with a factor, and the person has none in use; enrol one first';
    throw this.#trail.refuse(call, new Fault('precondition', 'FACTOR_STATE', message));
  }
}
