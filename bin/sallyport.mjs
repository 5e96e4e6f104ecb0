#!/usr/bin/env node
// Runs the built program on the Node it is made for, whichever Node started this file.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const program = new URL('../dist/main.mjs', import.meta.url);
if (!existsSync(program)) {
  process.stderr.write(
    'sallyport: not built yet. Run `npm start` (or `node scripts/build.mjs`) in the project folder first.\n',
  );
  process.exit(69);
}
const [major] = process.versions.node.split('.');
if (Number(major) >= 26) {
  await import(program.href);
} else {
  const pinned = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
  if (!existsSync(pinned)) {
    process.stderr.write(`sallyport: needs Node 26 or later, this is ${process.version}.\n`);
    process.exit(69);
  }
  // Signals of the terminal reach the child by themselves; wait for it and take over how it ended.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  const child = spawnSync(pinned, [fileURLToPath(program), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exit(child.status ?? 1);
}
