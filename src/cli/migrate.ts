import { type Command, InvalidArgumentError } from 'commander';
import { type Grant, grantAccess } from '#src/adapters/postgres/grants.ts';
import { migrateDatabase, type SchemaStatus, schemaStatus } from '#src/adapters/postgres/migrate-runner.ts';
import { systemClock } from '#src/adapters/system.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import { parseDuration } from '../config/units.ts';
import { Fault } from '../domain/faults.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import { type PostgresOptions, postgresOf } from './postgres-source.ts';
import { withSettings } from './settings-options.ts';

interface MigrateCommand extends PostgresOptions {
  readonly dryRun?: boolean;
  readonly status?: boolean;
  readonly grantTo?: readonly string[];
  readonly grantAuditTo?: readonly string[];
  readonly wait: number;
}

/** Partitions of the trail that are made before their month begins. */
const MONTHS_AHEAD = 3;

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

function duration(text: string): number {
  const value = parseDuration(text);
  if (value === undefined) throw new InvalidArgumentError('Needs a duration, for instance 5m.');
  return value;
}

const counted = (count: number) => (count === 1 ? '1 migration' : `${count} migrations`);
const titled = ({ version, name }: { readonly version: number; readonly name: string }) => `${version} ${name}`;
const grantLine = ({ role, access }: Grant) =>
  access === 'state' ? `${role} reads and writes the state and reads the trail` : `${role} adds to the trail`;

function show({ applied, missing }: SchemaStatus, place: string, io: Io): void {
  for (const one of applied) io.out(`applied  ${titled(one)}  ${new Date(one.appliedAt).toISOString()}\n`);
  for (const one of missing) io.out(`missing  ${titled(one)}\n`);
  io.out(`${place}: ${missing.length === 0 ? 'the schema is up to date' : `${counted(missing.length)} to apply`}\n`);
}

async function migrateCommand(options: MigrateCommand, io: Io): Promise<void> {
  const settings = await postgresOf(options, 'migrate', io);
  const grants: readonly Grant[] = [
    ...(options.grantTo ?? []).map((role) => ({ role, access: 'state' as const })),
    ...(options.grantAuditTo ?? []).map((role) => ({ role, access: 'audit' as const })),
  ];
  if (options.status) return show(await schemaStatus(settings, postgresMigrations), settings.place, io);
  if (options.dryRun) {
    const { missing } = await schemaStatus(settings, postgresMigrations);
    for (const one of missing) io.out(`would apply ${titled(one)}\n`);
    for (const grant of grants) io.out(`would grant: ${grantLine(grant)}\n`);
    return io.out(`${settings.place}: ${counted(missing.length)} to apply, nothing was changed\n`);
  }
  const applied = await migrateDatabase({
    settings,
    migrations: postgresMigrations,
    clock: systemClock,
    lockWaitMs: options.wait,
    onStep: (step) => {
      if (step.step === 'applying') io.out(`applying ${titled(step.migration)}\n`);
      else io.err(`another process is migrating; waiting since ${Math.round(step.waitedMs / 1000)} s\n`);
    },
    afterwards: async (tx) => {
      await tx.run('SELECT audit_prepare($1)', MONTHS_AHEAD);
      await grantAccess(tx, grants);
    },
  });
  for (const grant of grants) io.out(`granted: ${grantLine(grant)}\n`);
  const version = postgresMigrations.length;
  const done = applied === 0 ? 'nothing to apply' : `applied ${counted(applied)}`;
  io.out(`${settings.place}: ${done}, the schema is at version ${version}\n`);
}

export function registerMigrate(program: Command, io: Io): void {
  withSettings(program.command('migrate'))
    .description('bring the schema of the central PostgreSQL up to date, and give roles their rights')
    .option('--url-file <file>', 'file with the URL of a role that may change the schema; otherwise postgres.url')
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--status', 'say which migrations are applied and which are missing')
    .option('--grant-to <role>', 'let this role be the one in postgres.url of the sidecars; repeatable', collect)
    .option('--grant-audit-to <role>', 'let this role be the one in postgres.audit_url; repeatable', collect)
    .option('--wait <duration>', 'how long to wait for another process that migrates', duration, 60_000)
    .addHelpText(
      'after',
      `
All of it is one transaction: it is done, or nothing is. It may run anywhere and as often as you like, also many at once.

Exit codes: 0 done; 2 wrong command line; 66 no such file; 69 PostgreSQL is away, or another process migrates for too long;
78 settings, password, certificate, rights, or a database that is not for this version.

Examples:
  $ sallyport migrate --url-file owner.url --grant-to sallyport --grant-audit-to sallyport_audit
  $ sallyport migrate -c sallyport.yaml --dry-run
  $ SALLYPORT_POSTGRES_URL=postgresql://… sallyport migrate --status`,
    )
    .action(async (options: MigrateCommand) => {
      try {
        await migrateCommand(options, io);
      } catch (error) {
        if (error instanceof Fault && error.kind === 'precondition') throw new CliError(EXIT.config, error.message);
        throw error;
      }
    });
}
