// Compares proto/ with the last release tag; before the first release there is nothing that could break.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tag = spawnSync('git', ['describe', '--tags', '--abbrev=0', '--match', 'v*'], { cwd: root, encoding: 'utf8' });
if (tag.status !== 0) {
  process.stdout.write('no release yet: nothing to compare with\n');
  process.exit(0);
}
const against = `.git#tag=${tag.stdout.trim()}`;
const run = spawnSync(`${root}/node_modules/.bin/buf`, ['breaking', '--against', against], {
  cwd: root,
  stdio: 'inherit',
});
process.exit(run.status ?? 1);
