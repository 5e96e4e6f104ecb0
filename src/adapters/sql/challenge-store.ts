import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Challenge, canMove, isTerminal, saysMore, stateAt } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type {
  ApproveChallenge,
  BurnReceipt,
  ChallengeStore,
  OpenChallenge,
  SettleChallenge,
} from '#src/ports/challenge-store.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';
import { paramsOf, roomAbove } from './batches.ts';
import { restoreBudget } from './budget-rows.ts';
import { challengeOf, insertChallenge, readChallenge } from './challenge-rows.ts';
import { readerOf, type SqlExecutor, type Tx, UnitConflict } from './executor.ts';
import { claimProof } from './proof-claims.ts';
import { burnReceipt, purgeReceipts } from './receipt-burns.ts';
import { approveAttempt, purgeClaims, repeatOf, storeClaim } from './request-claims.ts';
import { whole } from './row.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of challenges'] as const;

export class SqlChallengeStore implements ChallengeStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  open(command: OpenChallenge): ReturnType<ChallengeStore['open']> {
    const { challenge, request } = command;
    const now = challenge.createdAt;
    return this.#sql.unit(async (tx) => {
      await tx.alone(challenge.realm, challenge.subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      if (!isTerminal(challenge.state)) {
        const open = await countOpen(tx, challenge.realm, challenge.subject, now);
        if (open >= command.maxOpen) return { outcome: 'too_many' };
      }
      await insertChallenge(tx, challenge);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'opened' };
    });
  }

  repeatOf(request: RequestClaim, now: EpochMs): Promise<Repeat | undefined> {
    return repeatOf(readerOf(this.#sql), request, now);
  }

  read(realm: string, challengeId: string): Promise<Challenge | undefined> {
    return readChallenge(readerOf(this.#sql), realm, challengeId);
  }

  /** Those of these challenges that are not as they were opened any more. */
  async movedAmong(challengeIds: readonly string[]): Promise<readonly Challenge[]> {
    if (challengeIds.length === 0) return [];
    // Filled up to a power of two with an id that nothing has, so that there are few texts of statements.
    const ids = [...challengeIds, ...Array.from({ length: roomAbove(challengeIds.length) }, () => '')];
    const rows = await readerOf(this.#sql).all(
      `SELECT * FROM challenges WHERE id IN (${paramsOf(ids.length, 1)})
         AND (settled_at IS NOT NULL OR state <> 'PENDING' OR chosen_method IS NOT NULL OR delivery IS NOT NULL)`,
      ...ids,
    );
    return rows.map(challengeOf);
  }

  async advance(command: Parameters<ChallengeStore['advance']>[0]): ReturnType<ChallengeStore['advance']> {
    const { realm, challengeId, to, now } = command;
    if (isTerminal(to)) throw new Fault('internal', 'INTERNAL', 'a challenge ends by settling, not by advancing');
    return await this.#sql.unit(async (tx) => {
      const current = await readChallenge(tx, realm, challengeId);
      if (!current) return { outcome: 'missing' };
      const seen = asOf(current, now);
      if (isTerminal(seen.state)) return { outcome: 'unchanged', challenge: seen };
      const state = canMove(current.state, to) ? to : current.state;
      const chosenMethod = command.chosenMethod ?? current.chosenMethod;
      if (state === current.state && chosenMethod === current.chosenMethod) {
        return { outcome: 'unchanged', challenge: current };
      }
      const [row] = await tx.all(
        `UPDATE challenges SET state = $3, chosen_method = $4
         WHERE id = $1 AND realm = $2 AND settled_at IS NULL AND expires_at > $5
           AND state = $6 AND chosen_method IS NOT DISTINCT FROM $7 RETURNING *`,
        challengeId,
        realm,
        state,
        chosenMethod ?? null,
        now,
        current.state,
        current.chosenMethod ?? null,
      );
      return { outcome: 'advanced', challenge: challengeOf(changed(row)) };
    });
  }

  noteDelivery(command: Parameters<ChallengeStore['noteDelivery']>[0]): ReturnType<ChallengeStore['noteDelivery']> {
    const { realm, challengeId, delivery, now } = command;
    return this.#sql.unit(async (tx) => {
      const current = await readChallenge(tx, realm, challengeId);
      if (!current) return { outcome: 'missing' };
      const seen = asOf(current, now);
      if (isTerminal(seen.state) || !saysMore(delivery, current.delivery)) {
        return { outcome: 'unchanged', challenge: seen };
      }
      const arrived = delivery.status === 'SENT' || delivery.status === 'DELIVERED';
      const [row] = await tx.all(
        `UPDATE challenges SET delivery = $3, state = $4
         WHERE id = $1 AND realm = $2 AND settled_at IS NULL AND expires_at > $5
           AND state = $6 AND delivery IS NOT DISTINCT FROM $7 RETURNING *`,
        challengeId,
        realm,
        JSON.stringify(delivery),
        arrived && canMove(current.state, 'DELIVERED') ? 'DELIVERED' : current.state,
        now,
        current.state,
        current.delivery ? JSON.stringify(current.delivery) : null,
      );
      const challenge = challengeOf(changed(row));
      tx.record(...command.events);
      return { outcome: 'noted', challenge };
    });
  }

  async openOf(realm: string, subject: string, method: Method, now: EpochMs): Promise<readonly Challenge[]> {
    const rows = await readerOf(this.#sql).all(
      `SELECT * FROM challenges
       WHERE realm = $1 AND subject = $2 AND settled_at IS NULL AND expires_at > $3 AND chosen_method = $4
       ORDER BY created_at, id`,
      realm,
      subject,
      now,
      method,
    );
    return rows.map(challengeOf);
  }

  approve(command: ApproveChallenge): ReturnType<ChallengeStore['approve']> {
    const { realm, challengeId, proof, now } = command;
    return this.#sql.unit(async (tx) => {
      const known = await readChallenge(tx, realm, challengeId);
      if (!known) return { outcome: 'missing' };
      await tx.alone(realm, known.subject);
      const current = await readChallenge(tx, realm, challengeId);
      if (!current) return { outcome: 'missing' };
      const seen = asOf(current, now);
      if (isTerminal(seen.state)) return { outcome: 'ended', challenge: seen };
      const claimed = await claimProof(tx, current, proof, now);
      if (!claimed) return { outcome: 'replayed' };
      const [row] = await tx.all(
        `UPDATE challenges
         SET state = 'APPROVED', approval_reason = 'PROOF', proven_method = $3, proven_factor_id = $4, settled_at = $5,
             receipt_id = $6, receipt_expires_at = $7
         WHERE id = $1 AND realm = $2 AND settled_at IS NULL AND expires_at > $5 RETURNING *`,
        challengeId,
        realm,
        command.method,
        proof.factorId,
        now,
        command.receiptId,
        command.receiptExpiresAt,
      );
      const challenge = challengeOf(changed(row));
      // What spends nothing gives nothing back, so guesses between two signatures still add up.
      if (proof.kind !== 'webauthn') await restoreBudget(tx, realm, challenge.subject);
      await approveAttempt(tx, command.requestKey);
      tx.record(...command.events.map((event) => withCodesLeft(event, claimed.codesLeft)));
      return { outcome: 'approved', challenge, codesLeft: claimed.codesLeft };
    });
  }

  settle(command: SettleChallenge): ReturnType<ChallengeStore['settle']> {
    const { realm, challengeId, to, now } = command;
    return this.#sql.unit(async (tx) => {
      const current = await readChallenge(tx, realm, challengeId);
      if (!current) return { outcome: 'missing' };
      const seen = asOf(current, now);
      // Once the time is up readers are told EXPIRED, so nothing else may be stored.
      const tooLate = seen.state === 'EXPIRED' && to !== 'EXPIRED';
      if (isTerminal(current.state) || tooLate) return { outcome: 'ended', challenge: seen };
      const [row] = await tx.all(
        `UPDATE challenges SET state = $3, settled_at = $4
         WHERE id = $1 AND realm = $2 AND settled_at IS NULL RETURNING *`,
        challengeId,
        realm,
        to,
        now,
      );
      tx.record(...command.events);
      return { outcome: 'settled', challenge: challengeOf(changed(row)) };
    });
  }

  burnReceipt(command: BurnReceipt): ReturnType<ChallengeStore['burnReceipt']> {
    const { realm, now, request } = command;
    return this.#sql.unit(async (tx) => {
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      if (!(await burnReceipt(tx, realm, command, now))) {
        // By this very request, perhaps, since it was looked for: there is no person to be alone with here.
        return (await repeatOf(tx, request, now)) ?? { outcome: 'spent' };
      }
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'burned' };
    });
  }

  due(now: EpochMs, limit: number): Promise<readonly Challenge[]> {
    // Long, and nobody waits for it: not among the quick reads.
    return this.#sql.unit(async (tx) => {
      const rows = await tx.all(
        'SELECT * FROM challenges WHERE settled_at IS NULL AND expires_at <= $1 ORDER BY expires_at, id LIMIT $2',
        now,
        limit,
      );
      return rows.map(challengeOf);
    });
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      const challenges = await tx.run(
        `DELETE FROM challenges
         WHERE id IN (
           SELECT id FROM challenges
           WHERE settled_at IS NOT NULL AND settled_at < $1
             AND (receipt_expires_at IS NULL OR receipt_expires_at < $1)
           ORDER BY settled_at LIMIT $2
         )`,
        before,
        limit,
      );
      const receipts = await purgeReceipts(tx, before, limit);
      return challenges + receipts + (await purgeClaims(tx, before, limit));
    });
  }
}

/** The challenge as readers must see it at `now`. */
function asOf(challenge: Challenge, now: EpochMs): Challenge {
  return { ...challenge, state: stateAt(challenge, now) };
}

async function countOpen(tx: Tx, realm: string, subject: string, now: EpochMs): Promise<number> {
  const [row] = await tx.all(
    `SELECT COUNT(*) AS open FROM challenges
     WHERE realm = $1 AND subject = $2 AND settled_at IS NULL AND expires_at > $3`,
    realm,
    subject,
    now,
  );
  return row ? whole(row, 'open') : 0;
}

/** The row of a guarded statement: there is none when another unit came in between what was read and the statement. */
function changed<T>(row: T | undefined): T {
  if (row === undefined) throw new UnitConflict('a challenge changed within a unit');
  return row;
}

/** How many are left is known with the claim only; the person is told of it. */
function withCodesLeft(event: EventDraft, codesLeft: number): EventDraft {
  if (event.type !== 'backup_code.used') return event;
  return { ...event, facts: { ...event.facts, codes_left: String(codesLeft) } };
}
