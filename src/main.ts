import { run } from './cli/program.ts';

const { stdout, stderr } = process;
// A reader that has gone (`sallyport … | head`) is not a fault.
for (const stream of [stdout, stderr]) stream.on('error', () => {});

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  out: (text) => stdout.write(text),
  err: (text) => stderr.write(text),
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
