import type { Factor } from '#src/domain/factor.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import type {
  BeginFactor,
  ConfirmFactor,
  FactorProof,
  FactorStore,
  FreezeFactors,
  RemoveFactor,
  ReplaceBackupCodes,
} from '#src/ports/factor-store.ts';
import { restoreBudget } from './budget-rows.ts';
import { hasStanding, insertConsent } from './consent-rows.ts';
import { readerOf, type SqlExecutor, type Tx, UnitConflict } from './executor.ts';
import { freezeFactors, thawFactors } from './factor-freezes.ts';
import {
  deleteFactor,
  deletePending,
  findCode,
  insertFactor,
  isTaken,
  listFactors,
  readFactor,
  replaceCodeSet,
} from './factor-rows.ts';
import { useIssuedCode } from './issued-code-rows.ts';
import { burnReceipt, burnReceiptsOf } from './receipt-burns.ts';
import { confirmationRepeatOf, noteConfirmation, repeatOf, storeClaim } from './request-claims.ts';
import { orNull } from './row.ts';
import { dropPass, passRefusal, readPass } from './temporary-passes.ts';
import { revokeDevices } from './trusted-device-rows.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of enrolments'] as const;

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
      if (await isTaken(tx, factor, factor.uniqueDigest, factor.replaces)) return { outcome: 'taken' };
      if (!consent && !(await hasStanding(tx, realm, subject, factor.method))) return { outcome: 'no_consent' };
      const isFirst = active.length === 0;
      const refusal = isFirst && passRefusal(await readPass(tx, realm, subject), command.pass, now);
      if (refusal) return { outcome: refusal };
      if (receipt && !(await burnReceipt(tx, realm, receipt, now))) return { outcome: 'receipt_spent' };
      for (const older of all.filter(sameEnrolment)) await deleteFactor(tx, older.id);
      await insertFactor(tx, factor);
      if (consent) await insertConsent(tx, realm, subject, consent);
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
      const replaced = all.find(({ id, state }) => id === pending.replaces && state === 'ACTIVE');
      const { proof } = command;
      const uniqueDigest = proof.kind === 'made' ? proof.uniqueDigest : pending.uniqueDigest;
      if (await isTaken(tx, pending, uniqueDigest, replaced?.id ?? '')) return { outcome: 'taken' };
      if (!(await useProof(tx, pending, proof, now))) return { outcome: 'proof_spent' };
      if (replaced) await deleteFactor(tx, replaced.id);
      await activate(tx, pending, proof, now);
      if (!all.some(({ state }) => state === 'ACTIVE')) await closeFirst(tx, realm, subject);
      const backupCodesStored = backupCodes !== undefined && !all.some(({ method }) => method === 'backup_code');
      if (backupCodesStored) await replaceCodeSet(tx, backupCodes);
      await restoreBudget(tx, realm, subject);
      if (request) await noteConfirmation(tx, request, now);
      tx.record(...command.events);
      if (replaced) {
        tx.record(...command.replacedEvents);
        await distrust(tx, replaced, command);
      }
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
      // One that is frozen proves nothing, so it keeps nobody able to prove anything.
      const remaining = alone ? [] : kept.filter(({ freezeReason }) => freezeReason === undefined);
      const satisfied = mustKeepOneOf.length === 0 || remaining.some(({ method }) => mustKeepOneOf.includes(method));
      if (going.state === 'ACTIVE' && !satisfied) return { outcome: 'last_factor' };
      if (!(await burnReceipt(tx, realm, command.receipt, now))) return { outcome: 'receipt_spent' };
      await deleteFactor(tx, factorId);
      if (alone) for (const codes of kept) await deleteFactor(tx, codes.id);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      if (going.state === 'ACTIVE') await distrust(tx, going, command);
      return { outcome: 'removed' };
    });
  }

  freeze(command: FreezeFactors): Promise<number> {
    return this.#onFactors(command, freezeFactors);
  }

  thaw(command: FreezeFactors): Promise<number> {
    return this.#onFactors(command, thawFactors);
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

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      return await tx.run(
        `DELETE FROM factors WHERE state = 'PENDING' AND id IN (
           SELECT id FROM factors WHERE state = 'PENDING' AND expires_at < $1 ORDER BY expires_at LIMIT $2
         )`,
        before,
        limit,
      );
    });
  }

  findBackupCode(realm: string, subject: string, selector: string): ReturnType<FactorStore['findBackupCode']> {
    return findCode(readerOf(this.#sql), realm, subject, selector);
  }

  #onFactors(command: FreezeFactors, change: (tx: Tx, command: FreezeFactors) => Promise<number>): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(command.realm, command.subject);
      const changed = await change(tx, command);
      if (changed > 0) tx.record(...command.events);
      return changed;
    });
  }
}

/** Uses up what was issued for the enrolment; other proofs have nothing that could be used twice. */
async function useProof(tx: Tx, pending: Factor, proof: FactorProof, now: number): Promise<boolean> {
  if (proof.kind !== 'issued') return true;
  const { id, realm, subject, method } = pending;
  const code = { bearerId: id, factorId: id, realm, subject, method, digest: proof.digest };
  return await useIssuedCode(tx, code, 'PENDING', now);
}

/**
 * From the first factor on every other takes a step-up: enrolments that were begun without one, perhaps by somebody else
 * who knew the password, are over, and so is the pass of a reset.
 */
async function closeFirst(tx: Tx, realm: string, subject: string): Promise<void> {
  await deletePending(tx, realm, subject);
  await dropPass(tx, realm, subject);
}

/**
 * What a factor has proven counts no more when it is gone: no receipt that is not redeemed yet, no enrolment that was begun
 * by such a receipt, and no device.
 */
async function distrust(tx: Tx, gone: Factor, command: ConfirmFactor | RemoveFactor): Promise<void> {
  const { realm, subject, now, deviceEvents = [] } = command;
  await burnReceiptsOf(tx, realm, subject, now, gone.id);
  await deletePending(tx, realm, subject);
  const revoked = await revokeDevices(tx, { realm, subject, deviceId: '', reason: 'FACTOR_CHANGE', now });
  if (revoked > 0) tx.record(...deviceEvents);
}

/** Another person may enrol the same thing at this instant: the unique digest decides, and the unit runs again. */
async function activate(tx: Tx, pending: Factor, proof: FactorProof, now: number): Promise<void> {
  const made = proof.kind === 'made' ? proof : undefined;
  const activated = await tx.run(
    `UPDATE factors
     SET state = 'ACTIVE', confirmed_at = $2, last_step = $3, drift_steps = $4, sealed_secret = $5, unique_digest = $6,
         sign_count = $7
     WHERE id = $1 AND state = 'PENDING'`,
    pending.id,
    now,
    proof.kind === 'totp' ? proof.step : pending.lastStep,
    proof.kind === 'totp' ? proof.driftSteps : pending.driftSteps,
    made?.sealedSecret ?? pending.sealedSecret,
    orNull(made?.uniqueDigest ?? pending.uniqueDigest),
    made?.signCount ?? 0,
  );
  if (activated !== 1) throw new UnitConflict('a factor changed within a unit');
}

/** In use, or an enrolment that can still be confirmed. */
function isStanding(factor: Factor, now: number): boolean {
  return factor.state === 'ACTIVE' || !isOver(factor.expiresAt, now);
}
