import { type Command, InvalidArgumentError } from 'commander';
import { faultTable } from './audit-faults.ts';
import type { Io } from './io.ts';

const DEFAULT_DATA_DIR = './sallyport-data';

function whole(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Needs a whole number.');
  return Number(text);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Adds where the trail is: a data directory, or a sidecar that runs. */
function withSource(command: Command, io: Io): Command {
  return command
    .option('--data-dir <dir>', 'data directory', io.env['SALLYPORT_DATA_DIR'] ?? DEFAULT_DATA_DIR)
    .option(
      '--address <target>',
      'ask a running sidecar instead, for instance 127.0.0.1:50051 or unix:/run/sallyport.sock',
    )
    .option('--token-file <file>', 'operator token for --address; otherwise operator.token in the data directory');
}

export function registerAudit(program: Command, io: Io): void {
  const audit = program.command('audit').description('verify, follow and export the audit trail');

  audit
    .command('verify')
    .description('check the hash chain, its signed checkpoints and the anchor; name the first bad row')
    .argument('[source]', 'data directory, audit file, or exported file (- for stdin)')
    .option('--data-dir <dir>', 'data directory', io.env['SALLYPORT_DATA_DIR'] ?? DEFAULT_DATA_DIR)
    .option('--json', 'print the verdict as JSON')
    .option('--partial', 'the export is a stretch: it may begin anywhere in its chain')
    .option('--trust <key-id>', 'every checkpoint and the anchor must be by this key; repeatable', collect)
    .option('--key-file <file>', 'trust the checkpoint key that belongs to this key ring')
    .addHelpText(
      'after',
      `
Reads only, also while the sidecar writes. Without --trust or --key-file, checkpoints are checked against the keys that the
trail itself names.

Exit codes: 0 intact; 2 wrong command line; 66 no such input; and for damage
${faultTable()}

Examples:
  $ sallyport audit verify --data-dir sallyport-data
  $ sallyport audit verify evidence/audit.db --json
  $ sallyport audit export --data-dir sallyport-data | sallyport audit verify -`,
    )
    .action(async (source: string | undefined, options) =>
      (await import('./audit-verify.ts')).verify(source, options, io),
    );

  withSource(audit.command('export'), io)
    .description('write rows, checkpoints and keys as JSON Lines, everything that `audit verify` needs')
    .option('--chain <id>', 'this chain only')
    .option('--from <sequence>', 'from this row on', whole, 0)
    .option('--to <sequence>', 'up to this row', whole, 0)
    .option('-o, --output <file>', 'write a new file, readable by its owner alone, instead of stdout')
    .addHelpText(
      'after',
      `
Personal fields stay sealed: an export can be given away, and erasing a person later reaches it too.

Examples:
  $ sallyport audit export --data-dir sallyport-data -o trail.jsonl
  $ sallyport audit export --address 127.0.0.1:50051 --token-file operator.token > trail.jsonl`,
    )
    .action(async (options) => (await import('./audit-export.ts')).exportTrail(options, io));

  withSource(audit.command('tail'), io)
    .description('show the last events, then each new one as it becomes durable')
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
}
