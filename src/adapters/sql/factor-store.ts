import type { Factor } from '#src/domain/factor.ts';
import { isOver } from '#src/domain/time.ts';
import type {
  BeginFactor,
  ConfirmFactor,
  FactorStore,
  RemoveFactor,
  ReplaceBackupCodes,
} from '#src/ports/factor-store.ts';
import { restoreBudget } from './budget-rows.ts';
import { readerOf, type SqlExecutor, UnitConflict } from './executor.ts';
import {
  deleteFactor,
  findCode,
  insertConsent,
  insertFactor,
  listFactors,
  readFactor,
  replaceCodeSet,
} from './factor-rows.ts';
import { burnReceipt } from './receipt-burns.ts';
import { confirmationRepeatOf, noteConfirmation, repeatOf, storeClaim } from './request-claims.ts';

export class SqlFactorStore implements FactorStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  begin(command: BeginFactor): ReturnType<FactorStore['begin']> {
    const { factor, consent, receipt, now, request } = command;
    const { realm, subject } = factor;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const all = await listFactors(tx, realm, subject);
      const active = all.filter((other) => other.state === 'ACTIVE');
      if (command.firstOnly && active.length > 0) return { outcome: 'not_first' };
      if (factor.replaces !== '' && !active.some(({ id }) => id === factor.replaces)) {
        return { outcome: 'replaces_missing' };
      }
      const sameEnrolment = (other: Factor) => other.state === 'PENDING' && other.method === factor.method;
      const counted = all.filter(
        (other) =>
          isStanding(other, now) &&
          other.method !== 'backup_code' &&
          !sameEnrolment(other) &&
          other.id !== factor.replaces,
      );
      if (counted.length >= command.maxFactors) return { outcome: 'too_many' };
      if (receipt && !(await burnReceipt(tx, realm, receipt, now))) return { outcome: 'receipt_spent' };
      for (const older of all.filter(sameEnrolment)) await deleteFactor(tx, older.id);
      await insertFactor(tx, factor);
      await insertConsent(tx, realm, subject, consent);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'begun' };
    });
  }

  async list(realm: string, subject: string, now: number): Promise<readonly Factor[]> {
    const all = await listFactors(readerOf(this.#sql), realm, subject);
    return all.filter((factor) => isStanding(factor, now));
  }

  read(realm: string, factorId: string): Promise<Factor | undefined> {
    return readFactor(readerOf(this.#sql), realm, factorId);
  }

  confirm(command: ConfirmFactor): ReturnType<FactorStore['confirm']> {
    const { realm, subject, factorId, backupCodes, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await confirmationRepeatOf(tx, request, now);
      if (repeat) return repeat;
      const all = await listFactors(tx, realm, subject);
      const pending = all.find(({ id }) => id === factorId);
      if (!pending) return { outcome: 'missing' };
      if (pending.state === 'ACTIVE') return { outcome: 'already_active' };
      if (isOver(pending.expiresAt, now)) return { outcome: 'lapsed' };
      const confirmed = await tx.run(
        `UPDATE factors SET state = 'ACTIVE', confirmed_at = $2, last_step = $3, drift_steps = $4
         WHERE id = $1 AND state = 'PENDING'`,
        factorId,
        now,
        command.step,
        command.driftSteps,
      );
      if (confirmed !== 1) throw new UnitConflict('a factor changed within a unit');
      const replaced = all.find(({ id, state }) => id === pending.replaces && state === 'ACTIVE');
      if (replaced) await deleteFactor(tx, replaced.id);
      const backupCodesStored = backupCodes !== undefined && !all.some(({ method }) => method === 'backup_code');
      if (backupCodesStored) await replaceCodeSet(tx, backupCodes);
      await restoreBudget(tx, realm, subject);
      if (request) await noteConfirmation(tx, request, now);
      tx.record(...command.events);
      if (replaced) tx.record(...command.replacedEvents);
      if (backupCodesStored) tx.record(...command.backupEvents);
      const factor = await readFactor(tx, realm, factorId);
      if (!factor) throw new Error('a factor vanished within a unit');
      return { outcome: 'confirmed', factor, backupCodesStored, replaced: replaced?.id ?? '' };
    });
  }

  remove(command: RemoveFactor): ReturnType<FactorStore['remove']> {
    const { realm, subject, factorId, mustKeepOneOf, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const all = await listFactors(tx, realm, subject);
      const going = all.find(({ id }) => id === factorId);
      if (!going) return { outcome: 'missing' };
      const kept = all.filter(({ id, state }) => id !== factorId && state === 'ACTIVE');
      const alone = kept.every(({ method }) => method === 'backup_code');
      const remaining = alone ? [] : kept;
      const satisfied = mustKeepOneOf.length === 0 || remaining.some(({ method }) => mustKeepOneOf.includes(method));
      if (going.state === 'ACTIVE' && !satisfied) return { outcome: 'last_factor' };
      if (!(await burnReceipt(tx, realm, command.receipt, now))) return { outcome: 'receipt_spent' };
      await deleteFactor(tx, factorId);
      if (alone) for (const codes of kept) await deleteFactor(tx, codes.id);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'removed' };
    });
  }

  replaceBackupCodes(command: ReplaceBackupCodes): ReturnType<FactorStore['replaceBackupCodes']> {
    const { realm, now, request, set } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, set.factor.subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      if (!(await burnReceipt(tx, realm, command.receipt, now))) return { outcome: 'receipt_spent' };
      await replaceCodeSet(tx, set);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'replaced' };
    });
  }

  findBackupCode(realm: string, subject: string, selector: string): ReturnType<FactorStore['findBackupCode']> {
    return findCode(readerOf(this.#sql), realm, subject, selector);
  }
}

/** In use, or an enrolment that can still be confirmed. */
function isStanding(factor: Factor, now: number): boolean {
  return factor.state === 'ACTIVE' || !isOver(factor.expiresAt, now);
}
