import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { PostgresServer } from './postgres.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const MIGRATE_LIMIT_MS = 60_000;

export const DATABASE = 'sallyport';
/** Three roles, as in production: one makes the schema, one is the sidecars', one may only add audit events. */
export const ROLES = { owner: 'sallyport_owner', state: 'sallyport', audit: 'sallyport_audit' } as const;

/** Makes database and roles where they are missing; the schema is for `migrate`. */
export async function makeCentralDatabase(postgres: PostgresServer): Promise<void> {
  for (const role of Object.values(ROLES)) await postgres.createRole(role);
  await postgres.createDatabase(DATABASE, ROLES.owner);
}

export interface MigrateOptions {
  readonly postgres: PostgresServer;
  /** Gets the owner's URL in a file of mode 0600. */
  readonly directory: string;
  /** The built program. */
  readonly program?: string;
}

/** Runs the built `sallyport migrate` as the owner, with rights for the other two. @returns What it said. */
export async function migrate({
  postgres,
  directory,
  program = join(root, 'dist/main.mjs'),
}: MigrateOptions): Promise<string> {
  const urlFile = join(directory, 'owner.url');
  writeFileSync(urlFile, `${postgres.url(DATABASE, ROLES.owner)}\n`, { mode: 0o600 });
  // The state role may flush too: not every fleet gives the flush a role of its own.
  const grants = ['--grant-to', ROLES.state, '--grant-audit-to', ROLES.state, '--grant-audit-to', ROLES.audit];
  const args = ['migrate', '--url-file', urlFile, ...grants];
  const { certificates } = postgres;
  try {
    const { stdout } = await run(process.execPath, [program, ...args], {
      cwd: directory,
      timeout: MIGRATE_LIMIT_MS,
      env: {
        PATH: process.env['PATH'] ?? '',
        ...(certificates ? { SALLYPORT_POSTGRES_CA_FILE: certificates.caFile } : { SALLYPORT_POSTGRES_TLS: 'off' }),
      },
    });
    return stdout.trim();
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new Error(said === '' ? `sallyport migrate failed: ${error}` : said, { cause: error });
  }
}
