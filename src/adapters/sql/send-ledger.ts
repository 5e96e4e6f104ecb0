import { admits, noteGood, noteSend, type SendLimit, type SendWindow, tripped } from '#src/domain/send-window.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { ReserveSend, SendLedger } from '#src/ports/send-ledger.ts';
import type { SqlExecutor, Tx } from './executor.ts';
import { json } from './row.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of sends'] as const;

/** How sends of a scope are counted, and in which row. */
interface Counting extends Pick<SendLimit, 'max' | 'windowMs'> {
  readonly realm: string;
  readonly scope: string;
}

/** Which row, as it is sorted by. */
type Place = { readonly realm?: unknown; readonly scope?: unknown };

/** In place of a realm, whose name is never empty. */
const EVERYWHERE = '';

/**
 * Sends by scope, one row each. Whoever reserves locks the rows of all its scopes first, in the order of their names, so
 * that two never wait for one another, and decides then.
 */
export class SqlSendLedger implements SendLedger {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  async reserve(command: ReserveSend): ReturnType<SendLedger['reserve']> {
    const { limits, ratios, now, events } = command;
    const countings = countingsOf(command);
    return await this.#sql.unit(async (tx) => {
      const windows = new Map<string, SendWindow>();
      for (const { realm, scope } of [...countings.values()].toSorted(byRealmAndScope)) {
        windows.set(scope, await lock(tx, realm, scope, now));
      }
      const windowOf = (scope: string): SendWindow => windows.get(scope) ?? [];
      for (const limit of limits) {
        const admission = admits(windowOf(limit.scope), limit, now);
        if (admission.outcome === 'full') {
          return { outcome: 'limited', name: limit.name, retryAfterMs: admission.retryAfterMs };
        }
      }
      for (const ratio of ratios) {
        const retryAfterMs = tripped(windowOf(ratio.scope), ratio, now);
        if (retryAfterMs !== undefined) return { outcome: 'limited', name: ratio.name, retryAfterMs };
      }
      for (const [scope, { realm, ...counting }] of countings) {
        const window = noteSend(windowOf(scope), counting, now);
        const newest = Math.max(now, window.at(-1)?.at ?? now);
        await save(tx, realm, scope, window, newest + 2 * counting.windowMs);
      }
      tx.record(...events);
      return { outcome: 'reserved' };
    });
  }

  credit(realm: string, scopes: readonly string[]): Promise<void> {
    return this.#sql.unit(async (tx) => {
      for (const scope of inOrder(scopes)) {
        // Changes nothing but for the lock.
        const [row] = await tx.all(
          'UPDATE send_windows SET sends = sends WHERE realm = $1 AND scope = $2 RETURNING sends',
          realm,
          scope,
        );
        if (!row) continue;
        await tx.run(
          'UPDATE send_windows SET sends = $3 WHERE realm = $1 AND scope = $2',
          realm,
          scope,
          JSON.stringify(noteGood(json(row, 'sends') as SendWindow)),
        );
      }
    });
  }

  clear(realm: string, scopes: readonly string[]): Promise<void> {
    return this.#sql.unit(async (tx) => {
      for (const scope of inOrder(scopes)) {
        await tx.run('DELETE FROM send_windows WHERE realm = $1 AND scope = $2', realm, scope);
      }
    });
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      const old = await tx.all(
        'SELECT realm, scope FROM send_windows WHERE keep_until < $1 ORDER BY keep_until LIMIT $2',
        before,
        limit,
      );
      let gone = 0;
      for (const { realm, scope } of old.toSorted(byRealmAndScope)) {
        gone += await tx.run(
          // Somebody may have sent meanwhile.
          'DELETE FROM send_windows WHERE realm = $1 AND scope = $2 AND keep_until < $3',
          realm ?? null,
          scope ?? null,
          before,
        );
      }
      return gone;
    });
  }
}

/**
 * How each scope is counted: as its limit says; a scope that only a ratio has, in steps. Throws RangeError where one scope
 * would be counted in two ways.
 */
function countingsOf({ realm, limits, ratios }: ReserveSend): ReadonlyMap<string, Counting> {
  const countings = new Map<string, Counting>();
  for (const { scope, max, windowMs, everywhere = false } of limits) {
    if (countings.has(scope)) throw new RangeError('two limits have one scope');
    countings.set(scope, { realm: everywhere ? EVERYWHERE : realm, scope, max, windowMs });
  }
  for (const { scope, windowMs } of ratios) {
    const counting = countings.get(scope) ?? { realm, scope, max: Number.MAX_SAFE_INTEGER, windowMs };
    if (counting.windowMs < windowMs) throw new RangeError('a ratio looks back further than the limit of its scope');
    countings.set(scope, counting);
  }
  return countings;
}

/** Makes the row if there is none, and keeps everybody else from it until the unit ends. */
async function lock(tx: Tx, realm: string, scope: string, now: EpochMs): Promise<SendWindow> {
  const [row] = await tx.all(
    `INSERT INTO send_windows (realm, scope, sends, keep_until) VALUES ($1, $2, '[]', $3)
     ON CONFLICT (realm, scope) DO UPDATE SET sends = send_windows.sends RETURNING sends`,
    realm,
    scope,
    now,
  );
  if (!row) throw new Error('a row that was made is not there');
  return json(row, 'sends') as SendWindow;
}

async function save(tx: Tx, realm: string, scope: string, window: SendWindow, keepUntil: EpochMs): Promise<void> {
  await tx.run(
    'UPDATE send_windows SET sends = $3, keep_until = $4 WHERE realm = $1 AND scope = $2',
    realm,
    scope,
    JSON.stringify(window),
    keepUntil,
  );
}

function inOrder(scopes: readonly string[]): readonly string[] {
  return [...new Set(scopes)].toSorted();
}

function byRealmAndScope(a: Place, b: Place): number {
  const [one, other] = [`${String(a.realm)}\n${String(a.scope)}`, `${String(b.realm)}\n${String(b.scope)}`];
  return one < other ? -1 : 1;
}
