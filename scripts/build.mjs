// Bundles the sources into dist/: one file per thread, split so that what is loaded lazily stays in files of its own.
// An argument names another folder.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { lazyBuiltins } from './builtin-modules.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const nodeBinary = join(root, 'node_modules/node/bin/node');
const outdir = join(root, process.argv[2] ?? 'dist');
rmSync(outdir, { recursive: true, force: true });

const entries = {
  main: 'src/main.ts',
  'local-worker': 'src/adapters/local/worker.ts',
  'qr-worker': 'src/transport/qr-worker.ts',
};

await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node26',
  format: 'esm',
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: 'linked',
  legalComments: 'linked',
  // Native code, loaded from node_modules.
  external: ['better-sqlite3'],
  // CommonJS dependencies call require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  plugins: [lazyBuiltins],
  logLevel: 'warning',
});
cpSync(new URL('../LICENSE', import.meta.url), join(outdir, 'LICENSE'));

// One start and stop, so that what a start compiles is kept in the bundle and later starts need not do it again.
const directory = mkdtempSync(join(tmpdir(), 'sallyport-build-'));
const child = spawn(nodeBinary, [join(outdir, 'main.mjs'), 'serve'], {
  cwd: directory,
  env: {
    SALLYPORT_DATA_DIR: directory,
    SALLYPORT_LISTENERS_GRPC_ADDRESS: '',
    SALLYPORT_LISTENERS_GRPC_SOCKET: join(directory, 'grpc.sock'),
    SALLYPORT_LISTENERS_HTTP_ADDRESS: '',
    SALLYPORT_LISTENERS_ADMIN_ADDRESS: '',
  },
  stdio: ['ignore', 'pipe', 'pipe'],
});
let said = '';
child.stderr.on('data', (chunk) => {
  said += chunk;
});
// The banner comes a moment before it listens to signals.
child.stdout.once('data', () => setTimeout(() => child.kill('SIGTERM'), 300));
const [code] = await once(child, 'exit');
rmSync(directory, { recursive: true, force: true });
if (code !== 0) {
  process.stderr.write(`build: the bundle does not start:\n${said}`);
  process.exit(1);
}
