// Makes src/gen: from proto/ and the standard protos that ship inside npm packages, from the SQL migrations, from the
// Lua scripts, and from the pages of the public listener. Never edit its output.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileScripts } from './lua-scripts.mjs';
import { compileAssets } from './public-assets.mjs';
import { compileMigrations } from './sql-migrations.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(new URL('../src/gen', import.meta.url), { recursive: true, force: true });
const run = spawnSync(`${root}/node_modules/.bin/buf`, ['generate'], { cwd: root, stdio: 'inherit' });
if (run.status !== 0) process.exit(run.status ?? 1);
compileMigrations();
compileScripts();
await compileAssets();
