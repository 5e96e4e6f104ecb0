/** A place that is searched, by its name. */
export type Sinks = ReadonlyMap<string, Buffer>;

/**
 * Where a secret is found, in any of the forms that bytes are written in. Six digits stand in many numbers; as a code they
 * stand alone.
 */
export function foundIn(sinks: Sinks, secret: string | Buffer): readonly string[] {
  const forms = formsOf(secret);
  const code = typeof secret === 'string' && /^[0-9]{6}$/.test(secret) ? secret : undefined;
  const found: string[] = [];
  for (const [name, bytes] of sinks)
    for (const [form, value] of forms) {
      if (!bytes.includes(value)) continue;
      if (code !== undefined && IN_NUMBERS.has(form) && !standsAlone(bytes, String(value))) continue;
      found.push(`${name} ${form}`);
    }
  return found;
}

/** Forms in which six digits stand in many numbers by chance. */
const IN_NUMBERS = new Set(['as it is', 'backwards']);

function standsAlone(bytes: Buffer, code: string): boolean {
  return new RegExp(`(?<![0-9A-Za-z.+/=_-])${code}(?![0-9A-Za-z.+/=_-])`).test(bytes.toString('latin1'));
}

/** As it is, in hex, in base64 wherever it stands within longer content, and as URLs and JSON have it. */
function formsOf(secret: string | Buffer): ReadonlyMap<string, Buffer> {
  const bytes = Buffer.from(secret);
  const forms = new Map<string, Buffer>([
    ['as it is', bytes],
    ['in hex', Buffer.from(bytes.toString('hex'))],
    ['in capital hex', Buffer.from(bytes.toString('hex').toUpperCase())],
  ]);
  for (const before of [0, 1, 2]) {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    // Letters that also have bits of what stands before and after are left out.
    const [from, to] = [Math.ceil((before * 8) / 6), Math.floor((padded.length * 8) / 6)];
    // Short ones are found in any large file by chance.
    if (to - from < 7) continue;
    forms.set(`in base64, ${before}`, Buffer.from(padded.toString('base64').slice(from, to)));
    forms.set(`in base64url, ${before}`, Buffer.from(padded.toString('base64url').slice(from, to)));
  }
  if (typeof secret === 'string') {
    const different = (text: string) => text !== secret;
    for (const [form, text] of [
      ['as in a URL', encodeURIComponent(secret)],
      ['as in JSON', JSON.stringify(secret).slice(1, -1)],
      ['backwards', [...secret].toReversed().join('')],
    ] as const)
      if (different(text)) forms.set(form, Buffer.from(text));
  }
  return forms;
}

/** What PostgreSQL and Redis write as escapes, as bytes again, with what stands between them. */
export function unescaped(text: string): Buffer {
  const withBytes = text.replaceAll(/\\+x((?:[0-9a-f]{2})+)/gi, (_, hex: string) =>
    Buffer.from(hex, 'hex').toString('latin1'),
  );
  return Buffer.from(withBytes.replaceAll(/\\(["\\])/g, '$1'), 'latin1');
}
