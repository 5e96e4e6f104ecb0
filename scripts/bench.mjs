// `npm run bench`: the figures of docs/benchmarks.md, each a ratio against a bare equivalent measured in the same run.
// `npm run bench -- --json FILE` also writes them as an array; `-- --only NAME` runs the rows whose name contains NAME.
import { spawnSync } from 'node:child_process';
import { environment, nodeBinary, prepare, root } from './prepare.mjs';
import { bringTools } from './tools.mjs';

prepare();
const missing = bringTools();
if (missing.length > 0) {
  process.stderr.write(
    `sallyport: the benchmarks need tools that could not be installed by themselves:\n  ${missing.join('\n  ')}\n`,
  );
  process.exit(69);
}
const run = spawnSync(nodeBinary, ['bench/run.ts', ...process.argv.slice(2)], {
  cwd: root,
  env: environment,
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
