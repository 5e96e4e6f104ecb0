import { concreteTypes } from '#src/adapters/audit/reader.ts';
import { outcomeNumber } from '#src/adapters/audit/record.ts';
import type { SqlValue } from '#src/adapters/sql/executor.ts';
import type { EventFilter } from '#src/ports/audit.ts';

export interface Search {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
}

export interface Stretch {
  readonly after?: number;
  /** Not beyond. */
  readonly to?: number;
  readonly order: 'ASC' | 'DESC';
  readonly limit: number;
}

/**
 * The statement for a filter over positions; undefined when nothing can match. `refs` are the pseudonyms of the person
 * that the filter names. One value is compared by `=`, since then its index also gives the order.
 */
export function searchOf(filter: EventFilter, refs: readonly string[], stretch: Stretch): Search | undefined {
  const { realm, subject, from, until, outcome, challengeId, sessionId } = filter;
  const where: string[] = [];
  const parameters: SqlValue[] = [];
  const bind = (value: SqlValue) => `$${parameters.push(value)}`;
  const anyOf = (column: string, values: readonly string[]) => {
    const [first = '', ...more] = values;
    where.push(
      more.length === 0
        ? `${column} = ${bind(first)}`
        : `${column} IN (SELECT json_array_elements_text(${bind(JSON.stringify(values))}::json))`,
    );
  };
  if (subject) {
    if (refs.length === 0) return undefined;
    anyOf('subject_ref', refs);
    where.push(`subject_ref <> ''`);
  }
  if (challengeId) where.push(`challenge_id = ${bind(challengeId)} AND challenge_id <> ''`);
  if (sessionId) where.push(`session_id = ${bind(sessionId)} AND session_id <> ''`);
  const types = filter.types && concreteTypes(filter.types);
  if (types?.length === 0) return undefined;
  if (types) anyOf('type', types);
  if (realm) where.push(`realm = ${bind(realm)}`);
  if (outcome) where.push(`outcome = ${bind(outcomeNumber(outcome))}`);
  if (from !== undefined) where.push(`at >= ${bind(from)}`);
  if (until !== undefined) where.push(`at < ${bind(until)}`);
  if (stretch.after !== undefined) where.push(`position > ${bind(stretch.after)}`);
  if (stretch.to !== undefined) where.push(`position <= ${bind(stretch.to)}`);
  const condition = where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`;
  const sql = `SELECT position, chain_id, sequence, record, hash FROM audit_events ${condition}
    ORDER BY position ${stretch.order} LIMIT ${bind(stretch.limit)}`;
  return { sql, parameters };
}
