// Compiles src/adapters/sql/migrations/<dialect>/NNNN_name.sql into src/gen/sql/migrations.js: one list per dialect, so
// that the bundle carries the texts and no file is read at start.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const source = new URL('../src/adapters/sql/migrations/', import.meta.url);
const target = new URL('../src/gen/sql/', import.meta.url);

/** Statements end with a semicolon at the end of a line; comments stand on lines of their own. */
function statementsOf(text) {
  return text
    .split('\n')
    .filter((line) => !line.startsWith('--'))
    .join('\n')
    .split(/;[ \t]*(?:\n|$)/)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== '');
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
