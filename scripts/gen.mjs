// Makes src/gen from proto/ and from the standard protos that ship inside npm packages. Never edit its output.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(new URL('../src/gen', import.meta.url), { recursive: true, force: true });
const run = spawnSync(`${root}/node_modules/.bin/buf`, ['generate'], { cwd: root, stdio: 'inherit' });
process.exit(run.status ?? 1);
