// What both commands of the README need: dependencies, generated code and the bundle, each made only when it is missing
// or out of date. Runs on any Node from 20 on; the product itself runs on the Node pinned in package.json.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PAUSES_S, withRetries } from './retries.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const nodeBinary = join(root, 'node_modules', 'node', 'bin', 'node');

/** Environment in which every child finds the pinned Node and the project's own tools first. */
export const environment = {
  ...process.env,
  PATH: [join(root, 'node_modules', '.bin'), join(root, '.tools', 'bin'), process.env.PATH].join(':'),
};

function run(title, command, args, pauses = []) {
  process.stderr.write(`sallyport: ${title} …\n`);
  const options = { cwd: root, env: environment, stdio: ['ignore', 2, 2] };
  const child = withRetries(title, () => spawnSync(command, args, options), pauses);
  if (child.error) throw new Error(`${title} could not start: ${child.error.message}`);
  if (child.status !== 0) {
    process.stderr.write(`sallyport: ${title} failed (exit ${child.status}). See the lines above.\n`);
    process.exit(child.status ?? 1);
  }
}

function digestOf(paths) {
  const hash = createHash('sha256');
  const visit = (path) => {
    const entry = join(root, path);
    if (!existsSync(entry)) return;
    let names;
    try {
      names = readdirSync(entry).sort();
    } catch {
      hash.update(path).update(readFileSync(entry));
      return;
    }
    for (const name of names) if (name !== 'gen') visit(join(path, name));
  };
  for (const path of paths) visit(path);
  return hash.digest('hex');
}

function once(stamp, inputs, outputs, action) {
  const stamps = join(root, 'node_modules', '.sallyport');
  const file = join(stamps, stamp);
  const digest = digestOf(inputs);
  const fresh = existsSync(file) && readFileSync(file, 'utf8') === digest;
  if (fresh && outputs.every((path) => existsSync(join(root, path)))) return;
  action();
  mkdirSync(stamps, { recursive: true });
  writeFileSync(file, digest);
}

export function prepare() {
  once('installed', ['package-lock.json'], ['node_modules/node/bin/node'], () =>
    run(
      'installing dependencies',
      'npm',
      ['ci', '--strict-allow-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
      PAUSES_S,
    ),
  );
  const generated = [
    'proto',
    'src/adapters/sql/migrations',
    'src/adapters/redis/scripts',
    'src/public',
    'scripts/gen.mjs',
    'scripts/public-assets.mjs',
    'buf.gen.yaml',
    'package-lock.json',
  ];
  once('generated', generated, ['src/gen'], () => run('generating code', nodeBinary, ['scripts/gen.mjs']));
  once('built', ['src', 'proto', 'scripts/build.mjs', 'package-lock.json'], ['dist/main.mjs'], () =>
    run('building', nodeBinary, ['scripts/build.mjs']),
  );
}
