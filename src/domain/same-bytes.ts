import { timingSafeEqual } from 'node:crypto';

/** Compares digests and the like in constant time; those of different lengths are never the same. */
export function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
