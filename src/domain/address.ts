const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$/;
const IPV6_FORM = /^[0-9a-fA-F:.]{2,45}$/;
const MAPPED = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/**
 * The one spelling of an IP address (RFC 5952 for IPv6; an IPv4-mapped IPv6 address is its IPv4 address), so that equal
 * addresses are equal strings. undefined for anything else: empty, a name, a port or a zone with it, leading zeros.
 */
export function canonicalAddress(text: string): string | undefined {
  if (IPV4.test(text)) return text;
  if (!text.includes(':') || !IPV6_FORM.test(text)) return undefined;
  // The URL parser is the platform's only pure IPv6 parser; it also compresses.
  const url = URL.parse(`http://[${text}]/`);
  if (!url) return undefined;
  const address = url.hostname.slice(1, -1);
  const mapped = MAPPED.exec(address);
  if (!mapped) return address;
  const high = Number.parseInt(mapped[1] ?? '', 16);
  const low = Number.parseInt(mapped[2] ?? '', 16);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The network of an address, for answers that need not say more: IPv4 to 24 bits, IPv6 to 48; '' for what is none. */
export function shortenedAddress(text: string): string {
  const address = canonicalAddress(text);
  if (address === undefined) return '';
  if (!address.includes(':')) return `${address.split('.').slice(0, 3).join('.')}.0/24`;
  const [head = '', tail] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => '0');
  const network = [...before, ...zeros, ...after].slice(0, 3);
  return `${canonicalAddress(`${network.join(':')}::`) ?? '::'}/48`;
}
