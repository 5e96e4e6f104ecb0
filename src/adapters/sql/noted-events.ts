import type { EventDraft } from '#src/domain/audit-event.ts';
import { isNotable } from '#src/domain/notice.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { SqlExecutor } from './executor.ts';
import { insertNotices } from './notice-rows.ts';

/**
 * Appends to a trail that is apart from the database, and notes what people have to be told of such events as belong to no
 * unit. Where the database is away the event stands and the notice is lost, since nobody is to wait for it.
 */
export function appendNoting(
  append: (events: readonly EventDraft[]) => Promise<void>,
  sql: SqlExecutor,
  log: Log,
): (events: readonly EventDraft[]) => Promise<void> {
  return async (events) => {
    await append(events);
    const notable = events.filter(isNotable);
    if (notable.length === 0) return;
    try {
      await sql.unit((tx) => insertNotices(tx, notable));
    } catch (error) {
      log.warn('notices could not be noted', { notices: notable.length, error: String(error) });
    }
  };
}
