import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { awaySteps } from '../support/people.ts';
import { RunningCluster } from '../support/running-cluster.ts';
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

/** Starts the cluster; the other commands of its section are run against that. */
const CLUSTER = 'npm run cluster';

function commandsOf(text: string): string[] {
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, code]) => (code ?? '').trim());
}

function sections(page: string): string[] {
  return readFileSync(join(projectRoot, page), 'utf8').split(/^(?=## )/m);
}

function blocks(page: string): string[] {
  return sections(page)
    .map(commandsOf)
    .filter((codes) => !codes.includes(CLUSTER))
    .flat()
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
    const folder = projectFolder();
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

  it('run as they stand against the cluster that the README starts', async () => {
    const section = sections('README.md').map(commandsOf);
    const [start, ...rest] = section.find((codes) => codes.includes(CLUSTER)) ?? [];
    expect([start, rest.length]).toEqual([CLUSTER, 4]);
    const folder = projectFolder();
    await using cluster = await RunningCluster.start(folder);
    const script = rest
      .join('\n\n')
      .replaceAll(/127\.0\.0\.1:(500\d\d)/g, (_, port) => `127.0.0.1:${Number(port) + cluster.portOffset}`);
    const { code, output } = await bash(script, folder);
    expect(code, output).toBe(0);
    expect(output.split('\n')).toEqual(
      expect.arrayContaining([
        'B: ada is in',
        'B: heard that a session of ada ended',
        'C: ended it',
        'A: refused, as it should be',
        '5 sessions of ben',
        'session.created\tAUDIT_OUTCOME_SUCCESS\t',
        'session.ended\tAUDIT_OUTCOME_SUCCESS\tLOGOUT',
      ]),
    );
    const said = await cluster.stop();
    expect(said).toContain('sallyport: stopped; the data is in');
  });
});

/** A folder that looks like the project. */
function projectFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-docs-'));
  for (const name of ['node_modules', 'package.json', 'bin', 'dist', 'config.example.yaml', 'docs', 'proto']) {
    symlinkSync(join(projectRoot, name), join(folder, name));
  }
  // PostgreSQL may have to be another user, who has to get through.
  chmodSync(folder, 0o755);
  return folder;
}

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
