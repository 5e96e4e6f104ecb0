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
  if (known === undefined) throw unexpectedReply();
  return known;
}

export function unexpectedReply(): Fault {
  return new Fault('internal', 'INTERNAL', 'an internal error occurred', {
    cause: new Error('Redis answered something else than agreed'),
  });
}
