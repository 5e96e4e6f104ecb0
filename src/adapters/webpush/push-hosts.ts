import { isPublicAddress } from './public-address.ts';

export interface PushHostRules {
  /** Names, or `*.` and a name: one or more labels in front of it. Lower case. */
  readonly hosts: readonly string[];
  /** Other ports than 443, and addresses that are not public. */
  readonly allowPrivate: boolean;
}

/** Why the endpoint of a subscription is not one to send to, in words; undefined when it is. */
export function refusalOf(endpoint: string, { hosts, allowPrivate }: PushHostRules): string | undefined {
  const url = URL.parse(endpoint);
  if (url?.protocol !== 'https:') return 'is no https URL';
  if (url.username !== '' || url.password !== '') return 'has a user or password in it';
  if (url.port !== '' && !allowPrivate) return 'is at another port than 443';
  if (!hosts.some((rule) => matches(url.hostname, rule))) return 'is at no push service that the settings name';
  const literal = literalOf(url.hostname);
  if (literal !== undefined && !allowPrivate && !isPublicAddress(literal)) return 'is at an address that is not public';
  return undefined;
}

function matches(hostname: string, rule: string): boolean {
  if (!rule.startsWith('*.')) return hostname === rule;
  const suffix = rule.slice(1);
  return hostname.length > suffix.length && hostname.endsWith(suffix) && !hostname.startsWith('.');
}

/** The parser has written every spelling of an IPv4 address in its plain form by now. */
function literalOf(hostname: string): string | undefined {
  if (hostname.startsWith('[')) return hostname.slice(1, -1);
  return /^[0-9.]+$/.test(hostname) ? hostname : undefined;
}
