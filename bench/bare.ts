import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './process.ts';

type BareServer = 'echo' | 'sharing' | 'started';

/** Bundles the bare servers into `directory`, as the product is bundled, and answers the path of one by its name. */
export async function bundleBareServers(directory: string): Promise<(name: BareServer) => string> {
  await build({
    absWorkingDir: root,
    entryPoints: ['echo', 'sharing', 'started'].map((name) => `bench/servers/${name}.ts`),
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'esm',
    minifySyntax: true,
    // CommonJS dependencies call require().
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  return (name) => join(directory, `${name}.mjs`);
}
