// `npm test`: everything, from a fresh clone. Installs, builds, brings the tools, checks, and runs every test. With
// arguments it runs only those through Vitest, for instance `npm test -- test/domain`.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { environment, nodeBinary, prepare, root } from './prepare.mjs';
import { bringTools } from './tools.mjs';

prepare();
const missing = bringTools();
if (missing.length > 0) {
  process.stderr.write(
    `sallyport: the tests need tools that could not be installed by themselves:\n  ${missing.join('\n  ')}\n`,
  );
  process.exit(69);
}

const picked = process.argv.slice(2);
let failedChecks = 0;
let passedChecks = 0;
function check(title, command, args) {
  process.stdout.write(`\n== ${title}\n`);
  const child = spawnSync(command, args, { cwd: root, env: environment, stdio: 'inherit' });
  if (child.status === 0) passedChecks += 1;
  else failedChecks += 1;
}
if (picked.length === 0) {
  check('types', 'tsc', ['--noEmit']);
  check('types of the pages', 'tsc', ['--noEmit', '-p', 'src/public']);
  check('types of the service worker', 'tsc', ['--noEmit', '-p', 'src/public/worker']);
  check('lint', 'biome', ['check', '--error-on-warnings', '.']);
  check('proto lint', 'buf', ['lint']);
  check('proto breaking changes', nodeBinary, ['scripts/breaking.mjs']);
}

const report = join(root, '.cache', 'vitest.json');
mkdirSync(join(root, '.cache'), { recursive: true });
rmSync(report, { force: true });
const args = [
  'node_modules/vitest/vitest.mjs',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...picked,
];
const tests = spawnSync(nodeBinary, args, { cwd: root, env: environment, stdio: 'inherit' });
let counts = { numPassedTests: 0, numFailedTests: 1, numPendingTests: 0, numTotalTests: 0 };
try {
  counts = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  process.stderr.write('sallyport: the test runner left no report.\n');
}
const passed = counts.numPassedTests + passedChecks;
let failed = counts.numFailedTests + failedChecks;
// A file that does not load has no failed test of its own, and a skipped test is a failure here.
if (tests.status !== 0 && failed === 0) failed = 1;
if (picked.length === 0) failed += counts.numPendingTests ?? 0;
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
