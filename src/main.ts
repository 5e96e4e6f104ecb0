import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

// During the start almost everything that is made stays, so a larger young generation would only take memory.
setFlagsFromString('--semi-space-growth-factor=1');
// Compiled once, by the build; where that does not fit (another Node, another user) everything is compiled as ever. By the
// environment, so that the threads find it too.
if (!import.meta.url.endsWith('.ts')) {
  process.env['NODE_COMPILE_CACHE'] ??= fileURLToPath(new URL('./compiled', import.meta.url));
  enableCompileCache();
}
const { run } = await import('./cli/program.ts');

const { stdin, stdout, stderr } = process;
// A reader that has gone (`sallyport … | head`) is not a fault.
for (const stream of [stdout, stderr]) stream.on('error', () => {});

async function ask(question: string): Promise<string> {
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: stdin, output: stdout });
  try {
    return (await terminal.question(question)).trim();
  } finally {
    terminal.close();
  }
}

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  out: (text) => stdout.write(text),
  err: (text) => stderr.write(text),
  ...(stdin.isTTY && stdout.isTTY ? { ask } : {}),
  onSignal: (listener) => {
    const signals = ['SIGINT', 'SIGTERM'] as const;
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.off(signal, listener);
    };
  },
  onCrash: (listener) => {
    const events = ['uncaughtException', 'unhandledRejection'] as const;
    for (const event of events) process.on(event, listener);
    return () => {
      for (const event of events) process.off(event, listener);
    };
  },
  exit: (code) => process.exit(code),
});
