import { types } from 'pg';
import type { SqlValue } from '#src/adapters/sql/executor.ts';

/** How columns arrive: the values of SQLite and nothing else, so that the stores see no difference. */

const BOOL = 16;
const BYTEA = 17;
const INT8 = 20;
const INT2 = 21;
const INT4 = 23;

const parseBytes = types.getTypeParser(BYTEA, 'text') as (text: string) => Uint8Array;

const PARSERS = new Map<number, (text: string) => SqlValue>([
  [BOOL, (text) => (text === 't' ? 1 : 0)],
  [BYTEA, parseBytes],
  [INT8, wholeOf],
  [INT2, wholeOf],
  [INT4, wholeOf],
]);

/** For the driver: every other type stays the text that the server writes. */
export const ROW_TYPES = {
  getTypeParser: (oid: number) => PARSERS.get(oid) ?? ((text: string) => text),
};

/** Throws for a number that JavaScript cannot hold exactly, rather than rounding a position or an instant. */
function wholeOf(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError('a whole number of the database is too large');
  return value;
}
