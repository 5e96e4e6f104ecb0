import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeCertificates } from '../../scripts/servers/certificates.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { Newcomer } from '../support/newcomer.ts';
import { awaySteps } from '../support/people.ts';
import { PushServiceStandIn } from '../support/push-service-stand-in.ts';
import { RunningCluster } from '../support/running-cluster.ts';
import { projectRoot, Sidecar } from '../support/sidecar.ts';

/** Commands that stay in a terminal of their own: this test starts the same itself, or is what they run. */
const RUN_BY_OTHERS = new Set(['npm start', 'npm test', 'npm run passkey-page']);

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

/** Starts a sidecar with every factor; the other commands of its section are run against that. */
const EVERY_FACTOR_FILE = 'deploy/every-factor.yaml';
const EVERY_FACTOR = `npm start -- --config ${EVERY_FACTOR_FILE}`;

/** The code of the step before is good until this step ends: nobody types it who sees that coming. */
const AWAY_FROM_STEPS = 'until ((10#$(date +%S) % 30 < 22)); do sleep 0.2; done';

function commandsOf(text: string): string[] {
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, code = '']) =>
    code.includes("-N '-30 seconds'") ? `${AWAY_FROM_STEPS}\n${code.trim()}` : code.trim(),
  );
}

function sections(page: string): string[] {
  return readFileSync(join(projectRoot, page), 'utf8').split(/^(?=## )/m);
}

function blocks(page: string): string[] {
  return sections(page)
    .map(commandsOf)
    .filter((codes) => !codes.includes(CLUSTER) && !codes.includes(EVERY_FACTOR))
    .flat()
    .filter((code) => !RUN_BY_OTHERS.has(code));
}

/** What a page says to do with a sidecar that has every factor. */
function factorBlocks(page: string): string[] {
  return sections(page)
    .map(commandsOf)
    .filter((codes) => codes.includes(EVERY_FACTOR))
    .flat()
    .filter((code) => code !== EVERY_FACTOR && !RUN_BY_OTHERS.has(code));
}

/** Pages that need more than a sidecar; the tests named run them. */
const RUN_ELSEWHERE: Readonly<Record<string, string>> = { 'docs/postgres.md': 'postgres-page.test.ts' };

/** How many challenges a page has approved with every factor on: each that it opens. */
const APPROVALS: Readonly<Record<string, number>> = { 'README.md': 2, 'docs/security/MFA_SETUP.md': 5 };

const withCommands = pages().filter((page) => blocks(page).length > 0 && !(page in RUN_ELSEWHERE));
const withFactors = pages().filter((page) => factorBlocks(page).length > 0);

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

  it('are found for every factor in the README and the guide to MFA', () => {
    expect(withFactors).toEqual(['README.md', 'docs/security/MFA_SETUP.md']);
  });

  it.each(withFactors)('run as they stand with every factor, codes typed and links opened: %s', async (page) => {
    const folder = projectFolder();
    const certificates = makeCertificates(folder);
    await using push = await PushServiceStandIn.start(certificates.server);
    const publicPort = await freePort();
    const passkeyPort = await freePort();
    const publicUrl = `http://localhost:${publicPort}`;
    await using sidecar = await Sidecar.start({
      args: ['--config', join(projectRoot, EVERY_FACTOR_FILE)],
      env: {
        SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${publicPort}`,
        SALLYPORT_LISTENERS_PUBLIC_URL: publicUrl,
        SALLYPORT_WEBAUTHN_ORIGINS: JSON.stringify([`http://localhost:${passkeyPort}`]),
        // Browsers subscribe at their vendor's service; here that is a stand-in on loopback.
        SALLYPORT_PUSH_HOSTS: '["localhost"]',
        SALLYPORT_PUSH_CA_FILE: certificates.caFile,
        SALLYPORT_PUSH_ALLOW_PRIVATE_HOSTS: 'true',
      },
    });
    symlinkSync(sidecar.dataDir, join(folder, 'sallyport-data'));
    await using newcomer = new Newcomer({ sidecar, push, publicUrl, passkeyPort });
    const script = factorBlocks(page).join('\n\n').replaceAll('127.0.0.1:50051', sidecar.grpcAddress);
    await awaySteps(20_000);
    const { code, output } = await newcomer.run(script, folder);
    expect(code, `${page}:\n${output}\n${newcomer.troubles}\n${sidecar.stderr}`).toBe(0);
    expect(output).not.toMatch(/^null$/m);
    const approved = output.match(/^CHALLENGE_STATE_APPROVED$/gm) ?? [];
    expect(approved.length, output).toBe(APPROVALS[page]);
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
  for (const name of [
    'node_modules',
    'package.json',
    'bin',
    'dist',
    'config.example.yaml',
    'docs',
    'proto',
    'deploy',
    'scripts',
  ]) {
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
    // Not at `exit`, which may come before the last words.
    child.on('close', (code) => resolve({ code, output }));
  });
}
