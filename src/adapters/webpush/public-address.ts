import { BlockList, isIP } from 'node:net';
import { canonicalAddress } from '#src/domain/address.ts';

/** Not globally reachable by the IANA registry of special-purpose IPv4 addresses, and multicast. */
const SPECIAL_V4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
];
/** Within 2000::/3, outside of which nothing is globally reachable: assignments of the IETF with Teredo, documentation, 6to4. */
const SPECIAL_V6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
];

const special = new BlockList();
for (const [net, prefix] of SPECIAL_V4) special.addSubnet(net, prefix, 'ipv4');
for (const [net, prefix] of SPECIAL_V6) special.addSubnet(net, prefix, 'ipv6');
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');

/** The well-known prefix of NAT64 (RFC 6052): an IPv4 address is in its last 32 bits. */
const NAT64 = /^64:ff9b::([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/**
 * Whether the address is reachable over the Internet, so that nothing of one's own network answers there. An IPv4 address
 * in an IPv6 one (mapped, NAT64) counts as itself. False for whatever is no address, and for zones.
 */
export function isPublicAddress(text: string): boolean {
  const address = canonicalAddress(text);
  if (address === undefined) return false;
  if (isIP(address) === 4) return !special.check(address, 'ipv4');
  const nat64 = NAT64.exec(address);
  if (nat64) return isPublicAddress(`::ffff:${nat64[1]}:${nat64[2]}`);
  return global.check(address, 'ipv6') && !special.check(address, 'ipv6');
}
