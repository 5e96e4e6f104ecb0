import type { ExportItem } from '#src/ports/audit.ts';
import { UnreadableError } from './verify.ts';

/** Fields of each kind of line: text, whole numbers, and bytes in base64url. */
const FIELDS = {
  key: { keyId: 'text', publicKey: 'bytes' },
  chain: { chainId: 'text', parentChainId: 'text', parentHeadHash: 'bytes', beginReason: 'text' },
  row: { chainId: 'text', sequence: 'whole', previousHash: 'bytes', record: 'bytes', hash: 'bytes' },
  checkpoint: {
    chainId: 'text',
    sequence: 'whole',
    headHash: 'bytes',
    signedAt: 'whole',
    keyId: 'text',
    signature: 'bytes',
  },
} as const;

type Kind = keyof typeof FIELDS;

/** The longest line there can be, with room to spare. */
export const MAX_LINE_LENGTH = 256 * 1024;

/** One item of an export as a line of JSON, with its line feed. */
export function formatLine(item: ExportItem): string {
  const values: Readonly<Record<string, unknown>> = { ...contentOf(item) };
  const line = Object.keys(FIELDS[item.kind]).map((name) => {
    const value = values[name];
    return [name, value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value];
  });
  return `${JSON.stringify({ kind: item.kind, ...Object.fromEntries(line) })}\n`;
}

function contentOf(item: ExportItem) {
  switch (item.kind) {
    case 'key':
      return item.key;
    case 'chain':
      return item.chain;
    case 'row':
      return item.row;
    case 'checkpoint':
      return item.checkpoint;
  }
}

/** Strict, so that no two lines mean the same: throws UnreadableError for anything `formatLine` would not write. */
export function parseLine(line: string, number: number): ExportItem {
  const refuse = (what: string) => new UnreadableError(`line ${number} ${what}`);
  let data: Readonly<Record<string, unknown>>;
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== 'object' || parsed === null) throw refuse('is no item of an export');
    data = parsed as Readonly<Record<string, unknown>>;
  } catch {
    throw refuse('is not JSON');
  }
  const kind = data['kind'];
  if (typeof kind !== 'string' || !Object.hasOwn(FIELDS, kind)) throw refuse('is no item of an export');
  const content = Object.fromEntries(
    Object.entries(FIELDS[kind as Kind]).map(([name, type]) => {
      const value = data[name];
      if (type === 'text' && typeof value === 'string') return [name, value];
      if (type === 'whole' && Number.isSafeInteger(value)) return [name, value];
      if (type === 'bytes' && typeof value === 'string') return [name, Buffer.from(value, 'base64url')];
      throw refuse(`has no ${name}`);
    }),
  );
  const item = { kind, [kind]: content } as unknown as ExportItem;
  if (formatLine(item) !== `${line}\n`) throw refuse('is not written as an export writes it');
  return item;
}
