import { escapeIdentifier } from 'pg';
import type { Tx } from '#src/adapters/sql/executor.ts';
import { text } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import { type Access, FUNCTION_RIGHTS, privilegesOf, type Rights, TABLE_RIGHTS } from './rights.ts';

export interface Grant {
  readonly role: string;
  readonly access: Access;
}

type Statements = Pick<Tx, 'all' | 'run'>;

/**
 * Gives each role exactly the rights of the kinds of access that are named for it here, inside the transaction of the
 * migrations; what it had before on these tables is taken away. The schema belongs to whoever migrates, so that whoever
 * takes over a sidecar can neither drop nor rewrite the trail. Throws Fault(precondition) and changes nothing when a role
 * is not there, or when it could still do more: as a superuser, an owner, or a member of another role.
 */
export async function grantAccess(tx: Statements, grants: readonly Grant[]): Promise<void> {
  if (grants.length === 0) return;
  const accessOf = Map.groupBy(grants, ({ role }) => role);
  for (const role of accessOf.keys()) await requirePlainRole(tx, role);
  const place = await placeOf(tx);
  const partitions = await partitionsOf(tx);
  await closeToPublic(tx, place, partitions);
  for (const [role, granted] of accessOf) {
    const access = granted.map((one) => one.access);
    await grantTo(tx, role, access, place, partitions);
    await requireNoMore(tx, role, access);
  }
}

interface Place {
  /** Quoted. */
  readonly database: string;
  readonly schema: string;
}

async function grantTo(
  tx: Statements,
  role: string,
  access: readonly Access[],
  { database, schema }: Place,
  partitions: readonly string[],
): Promise<void> {
  const to = escapeIdentifier(role);
  await tx.run(`GRANT CONNECT ON DATABASE ${database} TO ${to}`);
  await tx.run(`REVOKE CREATE, TEMPORARY ON DATABASE ${database} FROM ${to}`);
  await tx.run(`REVOKE CREATE ON SCHEMA ${schema} FROM ${to}`);
  await tx.run(`GRANT USAGE ON SCHEMA ${schema} TO ${to}`);
  // Partitions are reached through their table, with its privileges.
  for (const name of partitions) await tx.run(`REVOKE ALL ON TABLE ${name} FROM ${to}`);
  const all: readonly (readonly [string, Rights])[] = [
    ...Object.entries(TABLE_RIGHTS).map(([name, rights]) => [`TABLE ${escapeIdentifier(name)}`, rights] as const),
    ...Object.entries(FUNCTION_RIGHTS).map(([name, rights]) => [`FUNCTION ${name}`, rights] as const),
  ];
  for (const [object, rights] of all) {
    await tx.run(`REVOKE ALL ON ${object} FROM ${to}`);
    const privileges = privilegesOf(rights, access);
    if (privileges.length > 0) await tx.run(`GRANT ${privileges.join(', ')} ON ${object} TO ${to}`);
  }
}

async function requirePlainRole(tx: Statements, role: string): Promise<void> {
  const [known] = await tx.all('SELECT 1 AS there FROM pg_roles WHERE rolname = $1', role);
  const quoted = escapeIdentifier(role);
  if (!known) {
    throw refusal(`there is no role ${role}: make it first, with CREATE ROLE ${quoted} LOGIN PASSWORD '…'`);
  }
  // It can become each role that it is a member of. A superuser counts as a member of all, so the role itself comes first.
  const [above] = await tx.all(
    `SELECT rolname AS name, concat_ws(' and ', CASE WHEN rolsuper THEN 'SUPERUSER' END,
              CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
              CASE WHEN rolreplication THEN 'REPLICATION' END) AS can
     FROM pg_roles
     WHERE pg_has_role($1, oid, 'MEMBER') AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)
     ORDER BY rolname <> $1, rolname LIMIT 1`,
    role,
  );
  if (above) {
    const name = text(above, 'name');
    throw refusal(
      `the role ${role} is ${name === role ? '' : `a member of ${name}, which is `}${text(above, 'can')}, and no grant can limit that: make a role of its own for the sidecars, with LOGIN and nothing else`,
    );
  }
  const [owned] = await tx.all(
    `SELECT relname AS name FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND pg_has_role($1, relowner, 'MEMBER') ORDER BY relname LIMIT 1`,
    role,
  );
  if (owned) {
    throw refusal(
      `the role ${role} owns the table ${text(owned, 'name')}, or is a member of the role that does, and an owner may do everything: run migrations as another role than the sidecars`,
    );
  }
}

async function placeOf(tx: Statements): Promise<Place> {
  const [row] = await tx.all('SELECT current_database() AS database, current_schema() AS schema');
  if (!row) throw new Error('the server does not say where this is');
  return { database: escapeIdentifier(text(row, 'database')), schema: escapeIdentifier(text(row, 'schema')) };
}

/** Quoted names of the partitions of all tables of the schema. */
async function partitionsOf(tx: Statements): Promise<readonly string[]> {
  const rows = await tx.all(
    `SELECT oid::regclass::text AS name FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relispartition ORDER BY relname`,
  );
  return rows.map((row) => text(row, 'name'));
}

/** Nothing is for everybody who can log in, whatever the defaults of this server are. */
async function closeToPublic(
  tx: Statements,
  { database, schema }: Place,
  partitions: readonly string[],
): Promise<void> {
  const tables = [...Object.keys(TABLE_RIGHTS).map(escapeIdentifier), ...partitions];
  await tx.run(`REVOKE ALL ON TABLE ${tables.join(', ')} FROM PUBLIC`);
  await tx.run(`REVOKE ALL ON FUNCTION ${Object.keys(FUNCTION_RIGHTS).join(', ')} FROM PUBLIC`);
  await tx.run(`REVOKE CREATE ON SCHEMA ${schema} FROM PUBLIC`);
  await tx.run(`REVOKE CREATE, TEMPORARY ON DATABASE ${database} FROM PUBLIC`);
}

/** Compares with what the role can do in effect: by grants to itself, to everybody, and to roles that it is a member of. */
async function requireNoMore(tx: Statements, role: string, access: readonly Access[]): Promise<void> {
  const rows = await tx.all(
    `WITH self AS (SELECT oid FROM pg_roles WHERE pg_has_role($1, oid, 'MEMBER'))
     SELECT relname AS name, privilege FROM self, pg_class
       CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
       WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
         AND has_table_privilege(self.oid, pg_class.oid, privilege)
     UNION SELECT proname, 'EXECUTE' FROM self, pg_proc
       WHERE pronamespace = current_schema()::regnamespace AND has_function_privilege(self.oid, pg_proc.oid, 'EXECUTE')
     UNION SELECT 'the schema', 'CREATE' FROM self WHERE has_schema_privilege(self.oid, current_schema(), 'CREATE')
     UNION SELECT 'the database', privilege FROM self CROSS JOIN unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege
       WHERE has_database_privilege(self.oid, current_database(), privilege)
     ORDER BY name, privilege`,
    role,
  );
  const functions = Object.entries(FUNCTION_RIGHTS).map(
    ([name, rights]) => [name.replace(/\(.*/, ''), rights] as const,
  );
  const rightsOf = new Map<string, Rights>([...Object.entries(TABLE_RIGHTS), ...functions]);
  const more = rows
    .map((row) => ({ name: text(row, 'name'), privilege: text(row, 'privilege') }))
    .filter(({ name, privilege }) => {
      const granted: readonly string[] = privilegesOf(rightsOf.get(name) ?? {}, access);
      return !granted.includes(privilege);
    });
  if (more.length === 0) return;
  const [first] = more;
  const others = more.length === 1 ? '' : ` and ${more.length - 1} more`;
  throw refusal(
    `the role ${role} may still ${first?.privilege} on ${first?.name}${others}, by a role that it is a member of or by a grant that somebody else made: take that away as whoever granted it`,
  );
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', why);
}
