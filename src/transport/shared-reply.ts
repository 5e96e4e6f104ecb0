/** Replies that many calls give, and what they are encoded to once one of them was sent. */
const ENCODED = new WeakMap<object, Uint8Array | undefined>();

/** Declares a message to be the reply of many calls: it is frozen, so that it can be encoded once for all of them. */
export function sharedReply<T extends object>(message: T): T {
  ENCODED.set(message, undefined);
  return Object.freeze(message);
}

/** The bytes of a message; those of a shared one are kept for as long as the message is. */
export function encodeReply(message: object, encode: () => Uint8Array): Uint8Array {
  const known = ENCODED.get(message);
  if (known) return known;
  const bytes = encode();
  if (ENCODED.has(message)) ENCODED.set(message, bytes);
  return bytes;
}
