import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { awaySteps } from '../support/people.ts';
import { projectRoot, Sidecar } from '../support/sidecar.ts';

/** The two commands of the README: one starts what this test starts itself, the other is running this test. */
const RUN_BY_OTHERS = new Set(['npm start', 'npm test']);

function pages(folder = ''): string[] {
  const names = readdirSync(join(projectRoot, folder), { withFileTypes: true });
  return names.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return path === 'docs' || path.startsWith('docs/') ? pages(path) : [];
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

function blocks(page: string): string[] {
  const text = readFileSync(join(projectRoot, page), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)]
    .map(([, code]) => (code ?? '').trim())
    .filter((code) => !RUN_BY_OTHERS.has(code));
}

/** Pages that need more than a sidecar; the tests named run them. */
const RUN_ELSEWHERE: Readonly<Record<string, string>> = { 'docs/postgres.md': 'postgres-page.test.ts' };

const withCommands = pages().filter((page) => blocks(page).length > 0 && !(page in RUN_ELSEWHERE));

describe('the commands in the documentation', () => {
  it('are found in the README and in the API guide', () => {
    expect(withCommands).toEqual(expect.arrayContaining(['README.md', 'docs/api.md']));
  });

  it.each(Object.entries(RUN_ELSEWHERE))('of %s are run by %s', (page, test) => {
    expect(readFileSync(new URL(test, import.meta.url), 'utf8')).toContain(`'${page}'`);
  });

  it.each(withCommands)('run as they stand: %s', async (page) => {
    await using sidecar = await Sidecar.start();
    // A folder that looks like the project after `npm start`, with this run's addresses in place of the defaults.
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-docs-'));
    for (const name of ['node_modules', 'package.json', 'bin', 'dist', 'config.example.yaml', 'docs', 'proto']) {
      symlinkSync(join(projectRoot, name), join(folder, name));
    }
    symlinkSync(sidecar.dataDir, join(folder, 'sallyport-data'));
    const script = blocks(page)
      .join('\n\n')
      .replaceAll('127.0.0.1:50051', sidecar.grpcAddress)
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${sidecar.ports.http}`)
      .replaceAll('127.0.0.1:9090', `127.0.0.1:${sidecar.ports.admin}`);
    await awaySteps(20_000);
    const { code, output } = await bash(script, folder);
    expect(code, `${relative('.', page)}:\n${output}`).toBe(0);
    expect(output).not.toContain('null\n');
  });
});

function bash(script: string, cwd: string): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve) => {
    const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
      cwd,
      env: process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (chunk: Buffer) => {
      output += chunk;
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('exit', (code) => resolve({ code, output }));
  });
}
