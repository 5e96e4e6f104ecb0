import { Fault } from '#src/domain/faults.ts';

/** Width of an order: as many digits as the largest safe integer has. */
export const ORDER_DIGITS = 16;

/** A whole number from 0 as text that sorts as the numbers do. */
export function orderOf(value: number): string {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} has no place in an order`);
  return String(value).padStart(ORDER_DIGITS, '0');
}

/** The tag of a script's reply. Throws Fault(internal) for one that is not expected. */
export function outcomeOf<T extends string>(reply: readonly unknown[], expected: readonly T[]): T {
  const [first] = reply;
  const tag = Buffer.isBuffer(first) ? first.toString('latin1') : String(first);
  const known = expected.find((one) => one === tag);
  if (known === undefined)
    throw new Fault('internal', 'INTERNAL', 'an internal error occurred', {
      cause: new Error('a Redis script answered something else than agreed'),
    });
  return known;
}
