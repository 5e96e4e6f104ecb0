import type { Command } from 'commander';
import { loadSettings } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { Fault } from '../domain/faults.ts';
import { VERSION } from '../version.ts';
import { renderBanner } from './banner.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import type { Running } from './running.ts';
import { type SettingsOptions, sourcesOf, withSettings } from './settings-options.ts';
import { keepHeapSmall } from './small-heap.ts';

/** Beyond this the stop itself hangs. */
const STOP_MARGIN_MS = 5_000;

/**
 * Waits for a signal, then stops within the grace. A second signal cuts the grace to nothing, a third ends the process.
 * Resolves when everything is closed.
 */
export function untilStopped(sidecar: Running, shutdown: Config['shutdown'], io: Io): Promise<void> {
  return new Promise((resolve, reject) => {
    let signals = 0;
    const forget: (() => void)[] = [];
    const settle = (done: () => void) => {
      for (const dispose of forget.splice(0)) dispose();
      done();
    };
    const stop = (graceMs: number, limitMs: number) => {
      const late = setTimeout(() => {
        io.err('sallyport: could not stop in time\n');
        io.exit(EXIT.internal);
      }, limitMs + STOP_MARGIN_MS);
      late.unref();
      forget.push(() => clearTimeout(late));
      sidecar.stop(graceMs).then(
        () => settle(resolve),
        (error: unknown) => settle(() => reject(error)),
      );
    };
    forget.push(
      io.onSignal((signal) => {
        signals += 1;
        if (signals === 1) {
          io.err(
            `sallyport: ${signal}: stopping within ${(shutdown.delay + shutdown.grace) / 1000} s; once more is faster\n`,
          );
          stop(shutdown.grace, shutdown.delay + shutdown.grace);
        } else if (signals === 2) stop(0, 0);
        else io.exit(EXIT.internal);
      }),
      io.onCrash((error) => {
        io.err(`sallyport: unhandled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
        io.exit(EXIT.internal);
      }),
    );
  });
}

/** What a person has to know of a start that failed: one sentence, no stack, and a code that says whose turn it is. */
function startFailure(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if (error.name === 'ListenError') return new CliError(EXIT.unavailable, error.message);
  if (error.name === 'KeyRingError' || error.name === 'SecretFileError')
    return new CliError(EXIT.config, error.message);
  // The only things a caller gives at start are settings, and a data directory that has to fit them.
  if (error instanceof Fault && (error.kind === 'invalid' || error.kind === 'precondition'))
    return new CliError(EXIT.config, error.message);
  return error;
}

export function registerServe(program: Command, io: Io): void {
  withSettings(program.command('serve'))
    .description('run the sidecar until SIGINT or SIGTERM')
    .option('-q, --quiet', 'no banner')
    .addHelpText(
      'after',
      `
Examples:
  $ sallyport serve
  $ sallyport serve --data-dir /var/lib/sallyport --set listeners.grpc.socket=/run/sallyport/grpc.sock
  $ MFA_TIMEOUT_SECONDS=30 sallyport serve -c sallyport.yaml

The first SIGINT or SIGTERM stops gracefully and exits with 0, a second one stops faster.`,
    )
    .action(async (options: SettingsOptions & { readonly quiet?: boolean }) => {
      const [{ config, notices }, { compose }] = await Promise.all([
        loadSettings(sourcesOf(options, io)),
        import('../compose.ts'),
      ]);
      let sidecar: Running;
      try {
        sidecar = await compose(config);
      } catch (error) {
        throw startFailure(error);
      }
      // Before anybody can read that it is ready: a signal from then on stops it gracefully.
      const stopped = untilStopped(sidecar, config.shutdown, io);
      keepHeapSmall();
      const told = { ...sidecar, addresses: sidecar.addresses, notices: [...notices, ...sidecar.notices] };
      if (options.quiet) for (const notice of told.notices) io.err(`note: ${notice}\n`);
      else {
        const { data_dir: dataDir, reflection, postgres, redis } = config;
        const shared = postgres.url && { redis: redis.mode !== 'off' };
        io.out(renderBanner(told, { version: VERSION, dataDir, reflection, ...(shared && { shared }) }));
      }
      await stopped;
    });
}
