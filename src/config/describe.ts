import * as z from 'zod/mini';
import { ENVIRONMENT_NAMES } from './environment.ts';
import { SECTIONS, SETTINGS } from './keys.ts';
import type { Loaded } from './load.ts';
import { schema } from './schema.ts';
import { notes, sectionDocs } from './setting.ts';

/** What is shown of the settings: the example file, the reference page, the JSON Schema and the values in force. */

/** A written value as one line of YAML that reads back to the same; JSON is YAML, and plain words need no quotes. */
function inline(value: unknown): string {
  if (typeof value === 'string')
    return /^[A-Za-z./][\w./-]*$/.test(value) || /^\d+[a-zA-Z]+$/.test(value) ? plain(value) : JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  return JSON.stringify(value);
}

/** Words that YAML reads as something else than text stay in quotes. */
function plain(word: string): string {
  return /^(?:true|false|null|yes|no|on|off|~|\d+e\d+)$/i.test(word) ? JSON.stringify(word) : word;
}

function wrap(text: string, prefix: string): string {
  const lines: string[] = [];
  let line = prefix;
  for (const word of text.split(' ')) {
    if (line !== prefix && line.length + word.length + 1 > 110) {
      lines.push(line);
      line = prefix;
    }
    line += `${line === prefix ? '' : ' '}${word}`;
  }
  return [...lines, line].join('\n');
}

const HEAD = `# Settings of Sallyport, every one with its default. Made by \`sallyport config example\`; a file needs only what it changes.
# Precedence: default < this file < environment < command line. Each key can also be set in the environment, as
# SALLYPORT_ and its path in capitals with underscores (SALLYPORT_SESSIONS_CAP), lists there as JSON.
# For completion in editors: \`sallyport config schema > config.schema.json\`.
# yaml-language-server: $schema=./config.schema.json
`;

const RULE_EXAMPLE = `  # rules:
  #   - description: Money leaves the house
  #     match: { action: "transfer.*" }
  #     sensitivity: critical
  #   - description: Reports take a proof of the last quarter of an hour
  #     match: { resource: "reports/**", sensitivity: [low, normal, sensitive] }
  #     require: mfa_recent
  #     max_age: 15m`;

/** `config.example.yaml` */
export function renderExample(): string {
  const out: string[] = [HEAD.trimEnd()];
  const open = new Set<string>();
  for (const setting of SETTINGS) {
    const { path, note } = setting;
    if (path.length === 1) out.push('');
    for (let depth = 1; depth < path.length; depth += 1) {
      const key = path.slice(0, depth).join('.');
      if (open.has(key)) continue;
      open.add(key);
      const pad = '  '.repeat(depth - 1);
      if (depth === 1) out.push('');
      out.push(
        wrap(SECTIONS.find((section) => section.key === key)?.doc ?? '', `${pad}# `),
        `${pad}${path[depth - 1]}:`,
      );
    }
    const pad = '  '.repeat(path.length - 1);
    out.push(wrap(note.doc, `${pad}# `));
    const name = path.at(-1) ?? '';
    if (note.fallback === undefined) {
      out.push(`${pad}# ${name}: ${note.text === 'secret' ? '{ file: /run/secrets/name }' : '60s'}`);
    } else out.push(`${pad}${name}: ${inline(note.fallback)}`);
    if (setting.key === 'policy.rules') out.push(RULE_EXAMPLE);
  }
  return `${out.join('\n')}\n`;
}

/** The tables of `docs/configuration.md`, one for each section. */
export function renderReference(): string {
  const out: string[] = [];
  let current: string | undefined;
  const cell = (text: string) => text.replaceAll('|', '\\|');
  for (const setting of SETTINGS) {
    const { key, path, note, envName } = setting;
    const top = path.length === 1 ? '' : (path[0] ?? '');
    if (top !== current) {
      current = top;
      const doc = SECTIONS.find((section) => section.key === top)?.doc ?? '';
      out.push('', `### ${top === '' ? 'General' : `\`${top}\``}`, '', ...(doc === '' ? [] : [doc, '']));
      out.push('| Key | Default | Meaning |', '|---|---|---|');
    }
    const names = ENVIRONMENT_NAMES.filter((name) => name.setting === setting && name.name !== envName && !name.isFile);
    const also = names.map(({ name }) => ` Also \`${name}\`.`).join('');
    const fallback = note.fallback === undefined ? 'none' : `\`${inline(note.fallback)}\``;
    const values = note.expects === 'text' || note.expects === 'true or false' ? '' : ` Takes ${note.expects}.`;
    out.push(`| \`${key}\` | ${fallback} | ${cell(`${note.doc}${values}${also}`)} |`);
  }
  return `${out.join('\n').trim()}\n`;
}

/** JSON Schema (draft 2020-12) of the settings file, for editors. */
export function jsonSchema(): Record<string, unknown> {
  const made = z.toJSONSchema(schema, {
    target: 'draft-2020-12',
    io: 'input',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema: json }) => {
      const note = notes.get(zodSchema);
      const section = sectionDocs.get(zodSchema);
      if (note) {
        json.description = note.doc;
        if (note.text === 'secret') Object.assign(json, SECRET_SCHEMA);
      } else if (section) {
        json.description = section.doc;
        // A section without lines reads as null.
        if (json.type === 'object') Object.assign(json, { type: ['object', 'null'] });
        delete json.default;
      }
    },
  });
  return { title: 'Settings of Sallyport', ...made };
}

const SECRET_SCHEMA = {
  type: 'object',
  properties: { file: { type: 'string' }, env: { type: 'string' } },
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
};

export interface Effective {
  readonly key: string;
  /** As written, `[redacted]` for secrets; undefined when there is neither value nor default. */
  readonly value: unknown;
  readonly source: string;
  readonly where: string;
}

/** Every setting as it is in force, and where it comes from. */
export function effective({ written, origins }: Loaded): readonly Effective[] {
  return SETTINGS.map(({ key, note }) => {
    const value = written.get(key);
    const origin = origins.get(key) ?? { source: 'default', where: 'default' };
    return { key, value: note.text === 'secret' && value !== undefined ? '[redacted]' : value, ...origin };
  });
}

/** One line for each setting: key, value, origin. */
export function renderEffective(settings: readonly Effective[]): string {
  const keys = Math.max(...settings.map(({ key }) => key.length));
  const shown = settings.map(({ value }) => (value === undefined ? '(not set)' : inline(value)));
  const values = Math.min(48, Math.max(...shown.map((text) => text.length)));
  const line = ({ key, where }: Effective, index: number) =>
    `${key.padEnd(keys)}  ${(shown[index] ?? '').padEnd(values)}  ${where}`;
  return `${settings.map(line).join('\n')}\n`;
}
