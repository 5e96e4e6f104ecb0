import type { RequestClaim } from '#src/ports/intents.ts';
import type { EraseSubject, Erasure, ResetSubject, SubjectStore, TemporaryPass } from '#src/ports/subject-store.ts';
import { deleteBudget } from './budget-rows.ts';
import { cancelChallenges } from './challenge-rows.ts';
import { readerOf, type SqlExecutor, type Tx } from './executor.ts';
import { deleteFactors, deletePerson, deleteSessions } from './person-rows.ts';
import { burnReceiptsOf } from './receipt-burns.ts';
import { repeatOf, storeClaim } from './request-claims.ts';
import { text, whole } from './row.ts';
import { putPass, readPass } from './temporary-passes.ts';
import { liveDevices, revokeDevices } from './trusted-device-rows.ts';

/** Where the keys of audit fields are. */
export interface PersonKeys {
  readonly table: 'subjects' | 'subject_keys';
  /**
   * Makes sure that there is one, so that the event of an erasure is sealed under a key that goes. Absent where keys are
   * made with the unit that needs them.
   */
  readonly prepare?: (realm: string, subject: string) => Promise<void>;
  /** They are destroyed for good. */
  readonly destroyed?: (realm: string, subject: string) => void;
}

/** A key that another erasure destroys between `prepare` and the unit is made once more. */
const MOST_TRIES = 3;

export class SqlSubjectStore implements SubjectStore {
  readonly #sql: SqlExecutor;
  readonly #keys: PersonKeys;

  constructor(sql: SqlExecutor, keys: PersonKeys) {
    this.#sql = sql;
    this.#keys = keys;
  }

  reset(command: ResetSubject): ReturnType<SubjectStore['reset']> {
    const { realm, subject, pass, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const factors = await deleteFactors(tx, realm, subject);
      await tx.run('DELETE FROM issued_codes WHERE realm = $1 AND subject = $2', realm, subject);
      const devices = await revokeDevices(tx, { realm, subject, deviceId: '', reason: 'RESET', now });
      await cancelChallenges(tx, realm, subject, now);
      await burnReceiptsOf(tx, realm, subject, now);
      await deleteBudget(tx, realm, subject);
      await putPass(tx, realm, subject, pass);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'reset', factors, devices };
    });
  }

  pass(realm: string, subject: string): Promise<TemporaryPass | undefined> {
    return readPass(readerOf(this.#sql), realm, subject);
  }

  known(request: RequestClaim, now: number): ReturnType<SubjectStore['known']> {
    return repeatOf(readerOf(this.#sql), request, now);
  }

  async erase(command: EraseSubject): ReturnType<SubjectStore['erase']> {
    const { realm, subject } = command;
    const { prepare, destroyed } = this.#keys;
    for (let tries = 1; ; tries += 1) {
      await prepare?.(realm, subject);
      const result = await this.#erase(command, prepare !== undefined && tries < MOST_TRIES);
      if (!result) continue;
      if (result.outcome === 'erased') destroyed?.(realm, subject);
      return result;
    }
  }

  async erasuresAfter(position: number, limit: number): Promise<readonly Erasure[]> {
    const rows = await this.#sql.read(
      'SELECT position, realm, subject_ref FROM erasures WHERE position > $1 ORDER BY position LIMIT $2',
      position,
      limit,
    );
    return rows.map((row) => ({
      position: whole(row, 'position'),
      realm: text(row, 'realm'),
      subjectRef: text(row, 'subject_ref'),
    }));
  }

  /** Undefined, with nothing done, when there is no key although there must be one. */
  #erase(command: EraseSubject, keyed: boolean): Promise<Awaited<ReturnType<SubjectStore['erase']>> | undefined> {
    const { realm, subject, mark, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      if (keyed && !(await this.#hasKey(tx, realm, subject))) return undefined;
      // Before the key goes: whoever keeps the trail seals them under it.
      tx.record(...command.events);
      const refs = await this.#destroyKeys(tx, realm, subject);
      const devices = (await liveDevices(tx, realm, subject, now)).length;
      await burnReceiptsOf(tx, realm, subject, now);
      const factors = await deletePerson(tx, realm, subject);
      await storeClaim(tx, request, now);
      await logErasures(tx, realm, [...refs, mark], now);
      const sessions = await deleteSessions(tx, realm, subject, now);
      return { outcome: 'erased', factors, sessions, devices };
    });
  }

  async #hasKey(tx: Tx, realm: string, subject: string): Promise<boolean> {
    const { table } = this.#keys;
    const rows = await tx.all(`SELECT ref FROM ${table} WHERE realm = $1 AND subject = $2 LIMIT 1`, realm, subject);
    return rows.length > 0;
  }

  async #destroyKeys(tx: Tx, realm: string, subject: string): Promise<readonly string[]> {
    const { table } = this.#keys;
    const rows = await tx.all(`DELETE FROM ${table} WHERE realm = $1 AND subject = $2 RETURNING ref`, realm, subject);
    return rows.map((row) => text(row, 'ref'));
  }
}

/**
 * Erasures log themselves one after the other: whoever follows the log by position would miss one that became visible after
 * a later one.
 */
async function logErasures(tx: Tx, realm: string, refs: readonly string[], now: number): Promise<void> {
  await tx.run(
    `INSERT INTO marks (name, value) VALUES ('erasures', '')
     ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
  );
  for (const ref of refs) {
    await tx.run('INSERT INTO erasures (realm, subject_ref, erased_at) VALUES ($1, $2, $3)', realm, ref, now);
  }
}
