import type { PostgresServer } from '../../scripts/servers/postgres.ts';

/** Partitions come and go with the months. */
const MONTHLY = /_\d{4}_\d{2}(?:_|$)/;

/**
 * The schema of a database as text, the same on every release of PostgreSQL: tables with columns, constraints and
 * partitioning, then indexes, then functions, each in the order of their names.
 */
export async function describeSchema(server: PostgresServer, database: string): Promise<string> {
  const columns = await server.query<{ readonly table: string; readonly column: string }>(
    `SELECT c.relname AS table, concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attcollation <> 0 THEN 'COLLATE ' || quote_ident(l.collname) END,
              CASE WHEN a.attnotnull THEN 'NOT NULL' END,
              CASE WHEN a.attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY' END,
              CASE WHEN a.attgenerated = 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
                   WHEN d.adbin IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END) AS column
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       LEFT JOIN pg_collation l ON l.oid = a.attcollation
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname, a.attnum`,
    [],
    database,
  );
  const constraints = await server.query<{ readonly table: string; readonly text: string }>(
    `SELECT c.relname AS table, 'CONSTRAINT ' || quote_ident(n.conname) || ' ' || pg_get_constraintdef(n.oid) AS text
     FROM pg_constraint n JOIN pg_class c ON c.oid = n.conrelid
     WHERE c.relnamespace = 'public'::regnamespace AND n.contype <> 'n' ORDER BY c.relname, n.conname`,
    [],
    database,
  );
  const tables = await server.query<{
    readonly name: string;
    readonly partitions: string | null;
    readonly part: string;
  }>(
    `SELECT c.relname AS name, pg_get_partkeydef(c.oid) AS partitions,
            COALESCE((SELECT 'PARTITION OF ' || inhparent::regclass || ' ' FROM pg_inherits WHERE inhrelid = c.oid)
              || pg_get_expr(c.relpartbound, c.oid), '') AS part
     FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname`,
    [],
    database,
  );
  const rest = await server.query<{ readonly name: string; readonly text: string }>(
    `SELECT indexname::text AS name, indexdef AS text, 1 AS place FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL SELECT proname, pg_get_functiondef(oid), 2 FROM pg_proc WHERE pronamespace = 'public'::regnamespace
     UNION ALL SELECT tgname, pg_get_triggerdef(t.oid), 3 FROM pg_trigger t WHERE NOT tgisinternal
     UNION ALL SELECT viewname, definition, 4 FROM pg_views WHERE schemaname = 'public'
     ORDER BY place, name`,
    [],
    database,
  );
  const isLasting = ({ name }: { readonly name: string }) => !MONTHLY.test(name);
  const texts = [
    ...tables.filter(isLasting).map(({ name, partitions, part }) => {
      const lines = [
        ...columns.filter(({ table }) => table === name).map(({ column }) => column),
        ...constraints.filter(({ table }) => table === name).map(({ text }) => text),
      ];
      const suffix = [part, partitions === null ? '' : `PARTITION BY ${partitions}`].filter((text) => text !== '');
      return [`CREATE TABLE ${name} (\n  ${lines.join(',\n  ')}\n)`, ...suffix].join(' ');
    }),
    ...rest.filter(isLasting).map(({ text }) => text.trim()),
  ];
  return texts.map((text) => `${text};\n`).join('\n');
}
