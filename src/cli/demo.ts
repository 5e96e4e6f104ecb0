import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadOperatorToken } from '../adapters/secrets/operator-token-file.ts';
import { loadSettings } from '../config/load.ts';
import { playJourney } from './demo-journey.ts';
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
      const folder = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
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
      const operatorToken = await loadOperatorToken(join(folder, 'data', 'operator.token'));
      const application = new SidecarClient(`unix:${socket}`, { name: 'demo' });
      const operator = new SidecarClient(`unix:${socket}`, { name: 'demo', operatorToken });
      const stopEarly = io.onSignal(() => io.exit(130));
      try {
        const ask = options.yes ? undefined : io.ask;
        await playJourney({ application, operator, out: io.out, ...(ask ? { ask } : {}) });
      } finally {
        stopEarly();
        application.close();
        operator.close();
        await sidecar.stop(1_000);
        await rm(folder, { recursive: true, force: true });
      }
    });
}
