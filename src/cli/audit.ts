import { type Command, InvalidArgumentError } from 'commander';
import { faultTable } from './audit-faults.ts';
import type { Io } from './io.ts';
import { type SettingsOptions, withSettings } from './settings-options.ts';

const DEFAULT_DATA_DIR = './sallyport-data';

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Needs a whole number.');
  return Number(text);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Adds PostgreSQL as where the trail is. */
function withPostgres(command: Command): Command {
  return withSettings(command).option('--url-file <file>', 'file with the URL of PostgreSQL; otherwise postgres.url');
}

/** Commands that read a folder have one even where no settings name it. */
function dataDirOf<T extends SettingsOptions>(options: T, io: Io): T & { readonly dataDir: string } {
  return { ...options, dataDir: options.dataDir ?? io.env['SALLYPORT_DATA_DIR'] ?? DEFAULT_DATA_DIR };
}

/** Adds where the trail is besides a data directory: a sidecar that runs. */
function withSidecar(command: Command): Command {
  return command
    .option(
      '--address <target>',
      'ask a running sidecar instead, for instance 127.0.0.1:50051 or unix:/run/sallyport.sock',
    )
    .option('--token-file <file>', 'operator token for --address; otherwise operator.token in the data directory');
}

export function registerAudit(program: Command, io: Io): void {
  const audit = program.command('audit').description('verify, follow and export the audit trail');

  withPostgres(audit.command('verify'))
    .description('check the hash chain, its signed checkpoints and the anchor; name the first bad row')
    .argument('[source]', 'data directory, audit file, or exported file (- for stdin)')
    .option('--central', 'the trail of all sidecars in PostgreSQL')
    .option('--chain <id>', 'with --central: this chain only')
    .option('--json', 'print the verdict as JSON')
    .option('--partial', 'the export is a stretch: it may begin anywhere in its chain')
    .option('--trust <key-id>', 'every checkpoint and the anchor must be by this key; repeatable', collect)
    .option('--key-file <file>', 'trust the checkpoint key that belongs to this key ring')
    .addHelpText(
      'after',
      `
Reads only, also while sidecars write. Where sidecars share a PostgreSQL, their own files hold only what was not flushed
yet: there --central checks the trail. Without --trust or --key-file, checkpoints are checked against the keys that the
trail itself names.

Exit codes: 0 intact; 2 wrong command line; 66 no such input; 69 PostgreSQL is away; 78 wrong settings; and for damage
${faultTable()}

Examples:
  $ sallyport audit verify --data-dir sallyport-data
  $ sallyport audit verify evidence/audit.db --json
  $ sallyport audit verify --central -c sallyport.yaml --key-file keys.json
  $ sallyport audit export --data-dir sallyport-data | sallyport audit verify -`,
    )
    .action(async (source: string | undefined, options) =>
      (await import('./audit-verify.ts')).verify(source, dataDirOf(options, io), io),
    );

  withSidecar(withPostgres(audit.command('export')))
    .description('write rows, checkpoints and keys as JSON Lines, everything that `audit verify` needs')
    .option('--central', 'the trail of all sidecars in PostgreSQL')
    .option('--chain <id>', 'this chain only')
    .option('--from <sequence>', 'from this row on', whole, 0)
    .option('--to <sequence>', 'up to this row', whole, 0)
    .option('-o, --output <file>', 'write a new file, readable by its owner alone, instead of stdout')
    .addHelpText(
      'after',
      `
Personal fields stay sealed: an export can be given away, and erasing a person later reaches it too. Where older events were
pruned, or with --from, an export begins in the middle of a chain: verify it with --partial.

Examples:
  $ sallyport audit export --data-dir sallyport-data -o trail.jsonl
  $ sallyport audit export --address 127.0.0.1:50051 --token-file operator.token > trail.jsonl
  $ sallyport audit export --central -c sallyport.yaml -o trail.jsonl`,
    )
    .action(async (options) => (await import('./audit-export.ts')).exportTrail(dataDirOf(options, io), io));

  withSidecar(audit.command('tail'))
    .description('show the last events, then each new one as it becomes durable')
    .option('--data-dir <dir>', 'data directory', io.env['SALLYPORT_DATA_DIR'] ?? DEFAULT_DATA_DIR)
    .option('-n, --backlog <count>', 'how many past events to begin with, at most 1000', whole, 10)
    .option('--type <type>', 'only this type, exact or with a trailing *; repeatable', collect)
    .option('--realm <realm>', 'only this realm')
    .option('--no-follow', 'end after the last event')
    .option('--json', 'print each event as a line of JSON')
    .option(
      '--key-file <file>',
      'key ring that opens personal fields in a data directory; without it pseudonyms are shown',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ sallyport audit tail --data-dir sallyport-data
  $ sallyport audit tail --address 127.0.0.1:50051 --token-file operator.token --type 'challenge.*'`,
    )
    .action(async (options) => (await import('./audit-tail.ts')).tail(options, io));

  withPostgres(audit.command('partitions'))
    .description('list the partitions of the trail in PostgreSQL, one for each month')
    .option('--ahead <months>', 'first make those of this month and so many next ones, at most 24', whole)
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Sidecars and \`sallyport migrate\` make the partitions of the next months by themselves. An event whose month has none is
kept in the partition of all other times, and moves when its month gets one.

Examples:
  $ sallyport audit partitions -c sallyport.yaml
  $ sallyport audit partitions --url-file owner.url --ahead 12`,
    )
    .action(async (options) => (await import('./audit-partitions.ts')).showPartitions(options, io));

  withPostgres(audit.command('prune'))
    .description('take the oldest months out of the trail in PostgreSQL, for good')
    .requiredOption('--before <day>', 'whole months before this day go, in UTC, for instance 2026-01-01')
    .requiredOption('--key-file <file>', 'key ring of the sidecars; signs what was taken out')
    .option('--dry-run', 'say what would go, and change nothing')
    .addHelpText(
      'after',
      `
Needs the role that owns the tables. Partitions are dropped in one transaction: all of it is done, or nothing is. Each chain
keeps everything from its first newer event on, and a signed note says where it begins now, so that \`audit verify --central\`
tells this from damage. The last 31 days always stay. Verify and export before you prune.

Exit codes: 0 done; 2 wrong command line, or too young; 66 no such file, or no trail; 69 PostgreSQL is away; 78 wrong role or
key ring, or a row is missing where a chain would be cut.

Examples:
  $ sallyport audit prune --before 2026-01-01 --url-file owner.url --key-file keys.json --dry-run
  $ sallyport audit prune --before 2026-01-01 --url-file owner.url --key-file keys.json`,
    )
    .action(async (options) => (await import('./audit-partitions.ts')).pruneTrail(options, io));
}
