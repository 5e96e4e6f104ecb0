import type { Command } from 'commander';
import { effective, jsonSchema, renderEffective, renderExample, renderReference } from '../config/describe.ts';
import { loadSettings } from '../config/load.ts';
import type { Io } from './io.ts';
import { type SettingsOptions, sourcesOf, withSettings } from './settings-options.ts';

const EXAMPLES = `
Examples:
  $ sallyport config check sallyport.yaml
  $ SALLYPORT_SESSIONS_CAP=3 sallyport config print
  $ sallyport config schema > config.schema.json
  $ sallyport config example > sallyport.yaml`;

export function registerConfig(program: Command, io: Io): void {
  const config = program
    .command('config')
    .description('check, print and describe the settings')
    .addHelpText('after', EXAMPLES);

  withSettings(config.command('check'))
    .description('check the settings and tell every problem at once; exit code 78 if there is one')
    .argument('[file]', 'settings file, as --config')
    .action(async (file: string | undefined, options: SettingsOptions) => {
      const { notices } = await loadSettings(sourcesOf(options, io, file));
      for (const notice of notices) io.err(`note: ${notice}\n`);
      io.out('the settings are good\n');
    });

  withSettings(config.command('print'))
    .description('print every setting as it is in force, and where it comes from; secrets stay hidden')
    .argument('[file]', 'settings file, as --config')
    .option('--json', 'as JSON')
    .action(async (file: string | undefined, options: SettingsOptions & { readonly json?: boolean }) => {
      const settings = effective(await loadSettings(sourcesOf(options, io, file)));
      io.out(options.json ? `${JSON.stringify(settings, undefined, 2)}\n` : renderEffective(settings));
    });

  config
    .command('schema')
    .description('print the JSON Schema of the settings file, for editors')
    .action(() => io.out(`${JSON.stringify(jsonSchema(), undefined, 2)}\n`));
  config
    .command('example')
    .description('print a settings file with every default')
    .action(() => io.out(renderExample()));
  config
    .command('reference')
    .description('print the tables of every setting, in Markdown')
    .action(() => io.out(renderReference()));
}
