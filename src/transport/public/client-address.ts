import { canonicalAddress } from '../../domain/address.ts';

/**
 * Where a request comes from. `trustProxy` proxies stand in front of the listener, and each adds the address it was called
 * from to the end of X-Forwarded-For; so the entry that many places from the end was written by the outermost proxy, and
 * everything before it by anybody. '' when that entry is missing or no address: then nothing is known, and nothing else is
 * believed in its place.
 */
export function clientAddress(
  remoteAddress: string | undefined,
  forwardedFor: string | undefined,
  trustProxy: number,
): string {
  if (trustProxy === 0) return canonicalAddress(remoteAddress ?? '') ?? '';
  const entries = (forwardedFor ?? '').split(',');
  const entry = entries[entries.length - trustProxy]?.trim() ?? '';
  return canonicalAddress(withoutPort(entry)) ?? '';
}

/** Some proxies write `203.0.113.7:51234` and `[2001:db8::7]:51234`. */
function withoutPort(entry: string): string {
  return /^\[([^\]]*)\](?::\d{1,5})?$/.exec(entry)?.[1] ?? /^([\d.]+):\d{1,5}$/.exec(entry)?.[1] ?? entry;
}

/**
 * What is counted together: an IPv4 address, or the /64 that one customer has of IPv6. Takes an address as `clientAddress`
 * answers it.
 */
export function addressGroup(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::', 2);
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...Array<string>(Math.max(0, missing)).fill('0'), ...after];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
