// Compiles src/adapters/sql/migrations/<dialect>/NNNN_name.sql into src/gen/sql/migrations.js: one list per dialect, so
// that the bundle carries the texts and no file is read at start.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const source = new URL('../src/adapters/sql/migrations/', import.meta.url);
const target = new URL('../src/gen/sql/', import.meta.url);

/**
 * Statements end with a semicolon at the end of a line; comments stand on lines of their own. Bodies of functions between
 * dollar quotes (`$$`, `$name$`) stay whole, with their semicolons and comments.
 */
export function statementsOf(text) {
  const statements = [];
  let lines = [];
  let quote;
  for (const line of text.split('\n')) {
    if (quote === undefined && line.startsWith('--')) continue;
    for (const [tag] of line.matchAll(/\$(?:[A-Za-z_]\w*)?\$/g)) {
      if (quote === undefined) quote = tag;
      else if (quote === tag) quote = undefined;
    }
    lines.push(line);
    if (quote !== undefined || !/;[ \t]*$/.test(line)) continue;
    statements.push(lines.join('\n').trim().replace(/;$/, ''));
    lines = [];
  }
  if (lines.join('').trim() !== '') throw new Error(`a statement has no end: ${lines.join('\n').trim().slice(0, 80)}`);
  return statements.filter((statement) => statement !== '');
}

function migrationsOf(dialect) {
  const names = readdirSync(new URL(`${dialect}/`, source)).sort();
  return names.map((file, index) => {
    const match = /^(\d{4})_([a-z0-9_]+)\.sql$/.exec(file);
    if (!match || Number(match[1]) !== index + 1) {
      throw new Error(`${dialect}/${file}: migrations are named 0001_name.sql, 0002_name.sql … without gaps`);
    }
    const text = readFileSync(new URL(`${dialect}/${file}`, source), 'utf8').replaceAll('\r\n', '\n');
    const checksum = createHash('sha256').update(text).digest('hex');
    return { version: index + 1, name: match[2], checksum, statements: statementsOf(text) };
  });
}

export function compileMigrations() {
  const dialects = readdirSync(source).sort();
  const code = dialects.map(
    (dialect) => `export const ${dialect}Migrations = ${JSON.stringify(migrationsOf(dialect), undefined, 2)};\n`,
  );
  const types = dialects.map((dialect) => `export declare const ${dialect}Migrations: readonly Migration[];\n`);
  const head = '// Made by scripts/sql-migrations.mjs from src/adapters/sql/migrations. Do not edit.\n';
  const shape = `export interface Migration {
  readonly version: number;
  readonly name: string;
  /** SHA-256 of the file, hexadecimal. */
  readonly checksum: string;
  readonly statements: readonly string[];
}
`;
  mkdirSync(target, { recursive: true });
  writeFileSync(new URL('migrations.js', target), `${head}${code.join('')}`);
  writeFileSync(new URL('migrations.d.ts', target), `${head}${shape}${types.join('')}`);
}
