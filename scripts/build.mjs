// Bundles the sources into dist/: one file per thread, split so that what is loaded lazily stays in files of its own.
import { cpSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });

const entries = {
  main: 'src/main.ts',
  'local-worker': 'src/adapters/local/worker.ts',
  'qr-worker': 'src/transport/qr-worker.ts',
};

await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node26',
  format: 'esm',
  minifySyntax: true,
  sourcemap: 'linked',
  legalComments: 'linked',
  // Native code, loaded from node_modules.
  external: ['better-sqlite3'],
  // CommonJS dependencies call require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
cpSync(new URL('../LICENSE', import.meta.url), new URL('../dist/LICENSE', import.meta.url));
