import { accessSync, constants } from 'node:fs';
import { type ConnectionSettings, connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { loadConfig } from '../config/load.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import { type SettingsOptions, sourcesOf } from './settings-options.ts';

export interface PostgresOptions extends SettingsOptions {
  readonly urlFile?: string;
}

/** A person waits here, not a call: a server that wakes up may take its time. */
const CONNECT_MS = 10_000;

/** The PostgreSQL that `--url-file` or the settings name. `purpose` is what the server shows of this command. */
export async function postgresOf(options: PostgresOptions, purpose: string, io: Io): Promise<ConnectionSettings> {
  const sources = sourcesOf(options, io);
  if (options.urlFile !== undefined) requireReadable(options.urlFile);
  const urlFile = options.urlFile === undefined ? {} : { 'postgres.url.file': options.urlFile };
  const { postgres } = await loadConfig({ ...sources, flags: { ...sources.flags, ...urlFile } });
  if (postgres.url === undefined) {
    throw new CliError(
      EXIT.config,
      'no PostgreSQL is named: put its URL into a file and name that with --url-file, or set postgres.url or SALLYPORT_POSTGRES_URL',
    );
  }
  return connectionSettings({
    url: postgres.url.reveal(),
    tls: postgres.tls,
    caFile: postgres.ca_file,
    connectTimeoutMs: CONNECT_MS,
    applicationName: `sallyport ${purpose}`,
  });
}

function requireReadable(path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new CliError(
      EXIT.noInput,
      `the file ${path} cannot be read (${why}): --url-file names a file that holds the URL`,
    );
  }
}
