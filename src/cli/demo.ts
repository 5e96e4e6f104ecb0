import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadOperatorToken } from '../adapters/secrets/operator-token-file.ts';
import { loadSettings } from '../config/load.ts';
import { playJourney } from './demo-journey.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { SidecarClient } from './grpc-client.ts';
import type { Io } from './io.ts';

/** `sallyport demo`: a sidecar of its own on a temporary folder, and the whole journey against it. */
export function registerDemo(program: Command, io: Io): void {
  program
    .command('demo')
    .description('play the whole journey in this terminal: enrolment, challenge, receipt, trail')
    .option('-y, --yes', 'do not ask for codes: let the demo play the phone')
    .addHelpText(
      'after',
      `
Examples:
  $ sallyport demo           scan the QR code with your authenticator app and type its codes
  $ sallyport demo --yes     the demo makes the codes itself

Nothing is left behind: the demo runs on a socket in a temporary folder.`,
    )
    .action(async (options: { readonly yes?: boolean }) => {
      await using stack = new AsyncDisposableStack();
      const folder = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
      const leaveNothing = () => rmSync(folder, { recursive: true, force: true });
      stack.defer(leaveNothing);
      stack.defer(
        io.onSignal(() => {
          leaveNothing();
          io.exit(EXIT.interrupted);
        }),
      );
      const socket = join(folder, 'grpc.sock');
      const { config } = await loadSettings({
        env: {},
        flags: {
          data_dir: join(folder, 'data'),
          'listeners.grpc.address': '',
          'listeners.grpc.socket': socket,
          'listeners.http.address': '',
          'listeners.admin.address': '',
          'log.level': 'error',
        },
      });
      const { compose } = await import('../compose.ts');
      const sidecar = await compose(config);
      stack.defer(() => sidecar.stop(1_000));
      const operatorToken = await loadOperatorToken(join(folder, 'data', 'operator.token'));
      const application = new SidecarClient(`unix:${socket}`, { name: 'demo' });
      stack.defer(() => application.close());
      const operator = new SidecarClient(`unix:${socket}`, { name: 'demo', operatorToken });
      stack.defer(() => operator.close());
      const ask = options.yes ? undefined : io.ask;
      try {
        await playJourney({ application, operator, out: (text) => io.out(text), ...(ask ? { ask } : {}) });
      } catch (error) {
        // Ctrl-C or Ctrl-D at a question.
        if (error instanceof Error && error.name === 'AbortError') throw new CliError(EXIT.interrupted, 'interrupted');
        throw error;
      }
    });
}
