// An esbuild plugin. An ES import of a module of Node reads all its exports for their live bindings, and some are
// getters that load half of Node: `WebSocket` of node:http brings undici, which took 30 ms of every start. Through a
// CommonJS module of its own only what is named is read.
import { builtinModules } from 'node:module';

const names = new Set(builtinModules.flatMap((name) => [name, `node:${name}`]));

export const lazyBuiltins = {
  name: 'lazy-builtins',
  setup(build) {
    build.onResolve({ filter: /^[a-z_:/0-9]+$/ }, ({ path, kind }) => {
      if (kind !== 'import-statement' || !names.has(path)) return undefined;
      return { path, namespace: 'builtin', sideEffects: false };
    });
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};
