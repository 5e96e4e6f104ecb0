import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Tests call tools by name; ours come first. */
const tools = ['.tools/bin', 'node_modules/.bin'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));

/** How long is waited for what comes about by itself. What has to be there sooner says so where it is waited for. */
const PATIENCE_MS = 10_000;

const project = (name: string, include: string[], timeout: number) => ({
  extends: true as const,
  test: { name, include, testTimeout: timeout, hookTimeout: timeout },
});

export default defineConfig({
  test: {
    // Two cores: one file at a time keeps servers, clocks and crash loops from disturbing one another.
    fileParallelism: false,
    pool: 'forks',
    expect: { poll: { timeout: PATIENCE_MS } },
    env: { PATH: [...tools, process.env['PATH']].join(':') },
    projects: [
      project(
        'unit',
        ['test/*.test.ts', 'test/{domain,services,transport,adapters,config,cli,migrations}/**/*.test.ts'],
        60_000,
      ),
      project('contract', ['test/{contract,servers}/**/*.test.ts'], 60_000),
      project('e2e', ['test/e2e/**/*.test.ts'], 180_000),
    ],
  },
});
