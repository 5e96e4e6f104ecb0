import { type Command, InvalidArgumentError } from 'commander';
import type { Sources } from '../config/load.ts';
import type { Io } from './io.ts';

export interface SettingsOptions {
  readonly config?: string;
  readonly dataDir?: string;
  readonly set?: Readonly<Record<string, string>>;
}

function collect(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const equals = text.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('Needs key=value, for instance sessions.cap=3.');
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}

/** Adds the options that choose the settings. */
export function withSettings(command: Command): Command {
  return command
    .option('-c, --config <file>', 'settings file, YAML (or SALLYPORT_CONFIG)')
    .option('-s, --set <key=value>', 'one setting, over file and environment; repeatable', collect)
    .option('--data-dir <dir>', 'short for --set data_dir=<dir>');
}

export function sourcesOf(options: SettingsOptions, io: Io, file?: string): Sources {
  const named = file ?? options.config ?? io.env['SALLYPORT_CONFIG'];
  return {
    env: io.env,
    flags: { ...(options.dataDir === undefined ? {} : { data_dir: options.dataDir }), ...options.set },
    ...(named ? { file: named } : {}),
  };
}
