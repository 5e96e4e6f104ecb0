import type Database from 'better-sqlite3';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';

/** What two dialects of one schema must have in common. */
export interface TableShape {
  /** `name kind` with `?` behind it where it may be NULL, in their order. */
  readonly columns: readonly string[];
  /** Unique keys, the primary one too: columns, then the condition. */
  readonly keys: readonly string[];
  /** Indexes that are no keys, by name. */
  readonly indexes: readonly string[];
  /** How many checks there are. */
  readonly checks: number;
  /** Foreign keys: column and target. */
  readonly references: readonly string[];
  /** Of text columns; only in PostgreSQL. */
  readonly collations: readonly string[];
}

export type Shape = Readonly<Record<string, TableShape>>;

const KINDS: Readonly<Record<string, string>> = {
  INTEGER: 'whole',
  BIGINT: 'whole',
  bigint: 'whole',
  integer: 'whole',
  TEXT: 'text',
  text: 'text',
  BLOB: 'bytes',
  bytea: 'bytes',
};

export function sqliteShape(db: Database.Database): Shape {
  const names = db
    .prepare<[], { name: string; sql: string }>(
      `SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`,
    )
    .all();
  return Object.fromEntries(names.map(({ name, sql }) => [name, sqliteTable(db, name, sql)]));
}

function sqliteTable(db: Database.Database, table: string, sql: string): TableShape {
  const columns = db
    .prepare<[], { name: string; type: string; notnull: number; pk: number }>(`PRAGMA table_xinfo(${table})`)
    .all();
  const indexes = db
    .prepare<[], { name: string; unique: number; partial: number }>(`PRAGMA index_list(${table})`)
    .all()
    .map((index) => {
      const parts = db.prepare<[], { name: string }>(`PRAGMA index_info(${index.name})`).all();
      const text = db
        .prepare<[string], { sql: string | null }>('SELECT sql FROM sqlite_master WHERE name = ?')
        .get(index.name);
      return {
        ...index,
        on: describeKey(parts.map(({ name }) => name).join(', '), / WHERE (.*)$/.exec(text?.sql ?? '')?.[1]),
      };
    });
  const rowidKey = columns.filter(({ pk }) => pk > 0);
  const hasKeyIndex = indexes.some(({ on }) => on === rowidKey.map(({ name }) => name).join(', '));
  const references = db
    .prepare<[], { from: string; table: string; on_delete: string }>(`PRAGMA foreign_key_list(${table})`)
    .all();
  return {
    columns: columns.map(({ name, type, notnull }) => `${name} ${KINDS[type] ?? type}${notnull === 1 ? '' : '?'}`),
    keys: [
      ...indexes.filter(({ unique }) => unique === 1).map(({ on }) => on),
      ...(hasKeyIndex ? [] : rowidKey.map(({ name }) => name)),
    ].toSorted(),
    indexes: indexes
      .filter(({ unique }) => unique === 0)
      .map(({ name, on }) => `${name}: ${on}`)
      .toSorted(),
    checks: sql.match(/\bCHECK \(/g)?.length ?? 0,
    references: references.map((key) => `${key.from} -> ${key.table} ${key.on_delete}`),
    collations: [],
  };
}

export async function postgresShape(server: PostgresServer, database: string): Promise<Shape> {
  const ask = <R extends Record<string, unknown>>(sql: string) => server.query<R>(sql, [], database);
  const columns = await ask<{ table: string; name: string; type: string; required: boolean; collation: string | null }>(
    `SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, l.collname AS collation
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_collation l ON l.oid = a.attcollation
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
     ORDER BY c.relname, a.attnum`,
  );
  const indexes = await ask<{ table: string; name: string; unique: boolean; parts: string; condition: string | null }>(
    `SELECT c.relname AS table, i.relname AS name, x.indisunique AS unique,
       (SELECT string_agg(pg_get_indexdef(x.indexrelid, n, true), ', ' ORDER BY n)
        FROM generate_series(1, x.indnkeyatts) AS n) AS parts,
       pg_get_expr(x.indpred, x.indrelid) AS condition
     FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
     WHERE c.relnamespace = 'public'::regnamespace`,
  );
  const constraints = await ask<{ table: string; kind: string; text: string }>(
    `SELECT conrelid::regclass::text AS table, contype AS kind, pg_get_constraintdef(oid) AS text
     FROM pg_constraint WHERE connamespace = 'public'::regnamespace`,
  );
  const names = [...new Set(columns.map(({ table }) => table))];
  return Object.fromEntries(
    names.map((table) => {
      const own = <T extends { readonly table: string }>(rows: readonly T[]) =>
        rows.filter((row) => row.table === table);
      const described = own(indexes).map((index) => ({
        ...index,
        on: describeKey(index.parts, index.condition ?? undefined),
      }));
      return [
        table,
        {
          columns: own(columns).map(
            ({ name, type, required }) => `${name} ${KINDS[type] ?? type}${required ? '' : '?'}`,
          ),
          keys: described
            .filter(({ unique }) => unique)
            .map(({ on }) => on)
            .toSorted(),
          indexes: described
            .filter(({ unique }) => !unique)
            .map(({ name, on }) => `${name}: ${on}`)
            .toSorted(),
          checks: own(constraints).filter(({ kind }) => kind === 'c').length,
          references: own(constraints)
            .filter(({ kind }) => kind === 'f')
            .map(({ text }) =>
              text.replace(/^FOREIGN KEY \((\w+)\) REFERENCES (\w+)\(\w+\) ON DELETE (\w+)$/, '$1 -> $2 $3'),
            ),
          collations: own(columns).flatMap(({ collation }) => (collation === null ? [] : [collation])),
        },
      ];
    }),
  );
}

/** Conditions in the words of both: without the casts, brackets and quotes that PostgreSQL writes. */
function describeKey(columns: string, condition: string | undefined): string {
  const named = columns.replaceAll('"', '');
  if (condition === undefined) return named;
  return `${named} WHERE ${condition.replaceAll(/::\w+|[()"]/g, '').trim()}`;
}
