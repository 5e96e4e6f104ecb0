import { readFileSync, statSync } from 'node:fs';
import * as yaml from 'yaml';
import { ConfigError } from './problem.ts';

const MAX_BYTES = 1_048_576;

/** A settings file as read: its content, and where each key stands. */
export interface SettingsFile {
  /** A plain object; empty when the file is. */
  readonly content: Readonly<Record<string, unknown>>;
  /** `file:line:column` of the key, or of the nearest part of it that exists. */
  locate(path: readonly PropertyKey[]): string;
}

/** The node where `key` is written inside `parent`, and the node of its value. */
function step(parent: unknown, key: PropertyKey): { at: unknown; value: unknown } | undefined {
  if (yaml.isMap(parent)) {
    const pair = parent.items.find((item) => (yaml.isScalar(item.key) ? String(item.key.value) : '') === String(key));
    return pair && { at: pair.key, value: pair.value };
  }
  if (yaml.isSeq(parent)) {
    const item = parent.items[Number(key)];
    return item === undefined ? undefined : { at: item, value: item };
  }
  return undefined;
}

/** Reads a YAML settings file. Throws ConfigError with every syntax error. Import this module only when there is a file: the parser is large. */
export function readSettingsFile(file: string): SettingsFile {
  let source: string;
  try {
    const { size } = statSync(file);
    if (size > MAX_BYTES) throw new Error(`is larger than ${MAX_BYTES} bytes`);
    source = readFileSync(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const what = missing
      ? 'there is no such file'
      : `cannot be read: ${error instanceof Error ? error.message : error}`;
    throw new ConfigError([{ where: file, key: '', what }], true);
  }
  const lines = new yaml.LineCounter();
  const position = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const document: yaml.Document.Parsed = yaml.parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    throw new ConfigError(
      faults.map((fault) => ({ where: position(fault.pos[0]), key: '', what: `is not valid YAML: ${fault.message}` })),
    );
  }
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 50 }) ?? {};
  } catch (error) {
    throw new ConfigError([
      { where: file, key: '', what: `cannot be used: ${error instanceof Error ? error.message : error}` },
    ]);
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw new ConfigError([{ where: `${file}:1:1`, key: '', what: 'must be a map of settings' }]);
  return {
    content: content as Record<string, unknown>,
    locate: (path) => {
      let value: unknown = document.contents;
      let at: unknown = document.contents;
      for (const key of path) {
        const next = step(value, key);
        if (!next) break;
        at = next.at;
        value = next.value;
      }
      const range = yaml.isNode(at) ? (at as yaml.Node).range : undefined;
      return position(range?.[0] ?? 0);
    },
  };
}
