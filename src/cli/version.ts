import type { Command } from 'commander';
import { VERSION } from '../version.ts';
import type { Io } from './io.ts';

export function registerVersion(program: Command, io: Io): void {
  program
    .command('version')
    .description('print the version')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExamples:\n  $ sallyport version --json')
    .action(({ json }: { readonly json?: boolean }) => {
      io.out(json ? `${JSON.stringify({ name: 'sallyport', version: VERSION })}\n` : `sallyport ${VERSION}\n`);
    });
}
