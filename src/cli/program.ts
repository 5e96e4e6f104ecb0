import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/problem.ts';
import { Fault } from '../domain/faults.ts';
import { VERSION } from '../version.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';

/** One command: what the overview says of it, and its module, loaded only when it is called. */
interface Entry {
  readonly name: string;
  readonly summary: string;
  /** Registers the command with its options and action. */
  readonly load: (program: Command, io: Io) => Promise<void>;
}

const COMMANDS: readonly Entry[] = [
  {
    name: 'serve',
    summary: 'run the sidecar',
    load: async (program, io) => (await import('./serve.ts')).registerServe(program, io),
  },
  {
    name: 'migrate',
    summary: 'bring the schema of the central PostgreSQL up to date, and give roles their rights',
    load: async (program, io) => (await import('./migrate.ts')).registerMigrate(program, io),
  },
  {
    name: 'demo',
    summary: 'play the whole journey in this terminal: enrolment, challenge, receipt, trail',
    load: async (program, io) => (await import('./demo.ts')).registerDemo(program, io),
  },
  {
    name: 'audit',
    summary: 'verify, follow and export the audit trail',
    load: async (program, io) => (await import('./audit.ts')).registerAudit(program, io),
  },
  {
    name: 'policy',
    summary: 'ask which rule decides a request, and why',
    load: async (program, io) => (await import('./policy.ts')).registerPolicy(program, io),
  },
  {
    name: 'config',
    summary: 'check, print and describe the settings',
    load: async (program, io) => (await import('./config.ts')).registerConfig(program, io),
  },
  {
    name: 'version',
    summary: 'print the version',
    load: async (program, io) => (await import('./version.ts')).registerVersion(program, io),
  },
];

const EXAMPLES = `
Examples:
  $ sallyport serve                                    embedded, on SQLite, nothing to set up
  $ sallyport serve -c sallyport.yaml --set log.level=debug
  $ sallyport migrate --url-file owner.url             the central PostgreSQL, where sidecars share one
  $ sallyport demo
  $ sallyport policy test --action transfer.create --sensitivity critical --enrolled totp
  $ sallyport config check sallyport.yaml
  $ sallyport audit verify --data-dir sallyport-data

Exit codes: 0 done, 2 wrong command line, 65 wrong data, 66 no such input, 69 unavailable, 70 internal, 78 wrong settings.`;

function chosen(argv: readonly string[]): string | undefined {
  const words = argv.filter((word) => !word.startsWith('-'));
  return words[0] === 'help' ? words[1] : words[0];
}

async function build(argv: readonly string[], io: Io): Promise<Command> {
  const program = new Command('sallyport')
    .description('Step-up MFA and sessions beside every pod: a gRPC authentication sidecar.')
    .version(VERSION, '-V, --version', 'print the version')
    .addHelpText('after', EXAMPLES)
    .showHelpAfterError('(add --help for what it takes)')
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .exitOverride();
  const name = chosen(argv);
  for (const entry of COMMANDS) {
    if (entry.name === name) await entry.load(program, io);
    else program.command(entry.name).description(entry.summary);
  }
  return program;
}

/** The exit code for what a command threw, after telling the person. */
function report(error: unknown, io: Io): number {
  if (error instanceof CommanderError) {
    // Commander has told it already.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  if (error instanceof CliError) {
    if (error.message !== '') io.err(`sallyport: ${error.message}\n`);
    return error.code;
  }
  if (error instanceof ConfigError) {
    io.err(`sallyport: ${error.message}\n`);
    return error.unreadable ? EXIT.noInput : EXIT.config;
  }
  if (error instanceof Fault) {
    io.err(`sallyport: ${error.message}\n`);
    return error.kind === 'unavailable' ? EXIT.unavailable : EXIT.internal;
  }
  io.err(`sallyport: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return EXIT.internal;
}

/** Runs one command line (without the program's own name) and answers the exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    const program = await build(argv, io);
    await program.parseAsync([...argv], { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    return report(error, io);
  }
}
