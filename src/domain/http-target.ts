/**
 * The one form of a request's host and path that rules are matched against. What servers read in different ways (dot
 * segments, encoded slashes, double encoding) has no such form: the answer is undefined, and the policy denies it.
 */

const MAX_PATH = 8_192;
const HEX = /%[0-9A-Fa-f]{2}/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const UNSAFE = /[\u0000-\u001f\u007f\\/]/;

function normaliseSegment(raw: string): string | undefined {
  // Servlet containers drop `;parameters` before they route, so the rule must not see them either.
  const bare = raw.split(';', 1)[0] ?? '';
  let text: string;
  try {
    text = decodeURIComponent(bare);
  } catch {
    return undefined;
  }
  if (UNSAFE.test(text) || HEX.test(text) || text === '.' || text === '..') return undefined;
  return bare === '' && raw !== '' ? undefined : text;
}

/** Path without query, decoded once, repeated and trailing slashes dropped, case as it is. */
export function normalisePath(target: string): string | undefined {
  if (target.length > MAX_PATH || !target.startsWith('/') || target.includes('#')) return undefined;
  const path = target.split('?', 1)[0] ?? '';
  const segments: string[] = [];
  for (const raw of path.split('/')) {
    const segment = normaliseSegment(raw);
    if (segment === undefined) return undefined;
    if (segment !== '') segments.push(segment);
  }
  return `/${segments.join('/')}`;
}

/** Host in lower case without port and trailing dot. */
export function normaliseHost(host: string): string | undefined {
  const match = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)\.?(?::\d{1,5})?$/.exec(host);
  return match?.[1] !== undefined && host.length <= 262 ? match[1].toLowerCase() : undefined;
}
