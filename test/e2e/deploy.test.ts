import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { loadOperatorToken } from '#src/adapters/secrets/operator-token-file.ts';
import { startPostgres } from '../../scripts/servers/postgres.ts';
import { projectRoot } from '../support/sidecar.ts';

interface Service {
  readonly image: string;
  readonly user?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, unknown>>;
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const deploy = (name: string) => join(projectRoot, 'deploy', name);
const compose = parse(readFileSync(deploy('compose.yaml'), 'utf8'), { merge: true }) as Compose;
const dockerfile = readFileSync(deploy('Dockerfile'), 'utf8');
const ours = Object.entries(compose.services).filter(([, { image }]) => image === 'sallyport:local');
const sidecars = ours.filter(([name]) => name.startsWith('sidecar-'));

const made = mkdtempSync(join(tmpdir(), 'sallyport-deploy-'));
const secrets = join(made, 'secrets');
execFileSync('sh', [deploy('make-secrets.sh'), secrets]);
afterAll(() => rmSync(made, { recursive: true, force: true }));

/** Where a path inside a sidecar's container is here. */
const here = (text: string) => text.replaceAll('/run/sallyport', join(secrets, 'sidecar'));

function sallyport(args: readonly string[], env: Readonly<Record<string, string>>) {
  const all = { PATH: process.env['PATH'] ?? '', ...env };
  return spawnSync(process.execPath, [join(projectRoot, 'dist/main.mjs'), ...args], { encoding: 'utf8', env: all });
}

describe('the compose file', () => {
  it('runs three sidecars, each with its own data and ports, all on loopback', () => {
    expect(sidecars.map(([name]) => name)).toEqual(['sidecar-a', 'sidecar-b', 'sidecar-c']);
    const ports = Object.values(compose.services).flatMap((service) => service.ports ?? []);
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
    expect(new Set(ports.map((port) => port.split(':')[1])).size).toBe(9);
    expect(new Set(sidecars.map(([, { volumes }]) => volumes?.[0])).size).toBe(3);
  });

  it('gives the program no rights: no root, no capabilities, nothing to write to but its data', () => {
    for (const [name, { read_only, cap_drop, security_opt, user }] of ours) {
      expect({ name, read_only, cap_drop, security_opt, user }).toEqual({
        name,
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        user: undefined,
      });
    }
    expect(/^USER (.+)$/m.exec(dockerfile)?.[1]).toBe('65532:65532');
  });

  it('names only volumes, services and files that there are', () => {
    for (const service of Object.values(compose.services)) {
      for (const volume of service.volumes ?? []) {
        const [source = ''] = volume.split(':');
        if (source.startsWith('./')) expect(existsSync(deploy(source))).toBe(true);
        else expect(compose.volumes).toHaveProperty(source);
      }
      for (const other of Object.keys(service.depends_on ?? {})) expect(compose.services).toHaveProperty(other);
    }
  });

  it.each(sidecars)('has settings for %s that `config check` takes, in production', (_, { environment = {} }) => {
    const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, here(value)]));
    expect(env['SALLYPORT_ENVIRONMENT']).toBe('production');
    for (const value of Object.values(env))
      if (value.startsWith(secrets)) expect([value, existsSync(value)]).toEqual([value, true]);
    const { status, stdout, stderr } = sallyport(['config', 'check'], env);
    expect([status, stdout], stderr).toEqual([0, 'the settings are good\n']);
    expect(stderr.split('\n').filter((line) => line !== '')).toEqual([
      'note: listeners.allow_insecure is on: whoever reaches a listener is trusted',
    ]);
  });

  it('calls `migrate` with options and files that there are', () => {
    const { command = [], environment = {} } = compose.services['migrate'] ?? {};
    const env = Object.fromEntries(Object.entries(environment).map(([key, value]) => [key, here(value)]));
    const { status, stderr } = sallyport(command.map(here), env);
    // The name `postgres` is known among the containers only: everything else was in order to get that far.
    expect(stderr).toMatch(/postgres:5432\/sallyport/);
    expect(status).toBe(69);
  });
});

describe('what the compose file makes', () => {
  it('is a key ring and a token that load, made once, and closed to others', async () => {
    const ring = join(secrets, 'sidecar/keys.json');
    expect((await loadKeyRing(ring)).keys.size).toBe(1);
    expect(await loadOperatorToken(join(secrets, 'sidecar/operator.token'))).toMatch(/^spo_.{43}$/);
    const before = readFileSync(ring, 'utf8');
    execFileSync('sh', [deploy('make-secrets.sh'), secrets]);
    expect(readFileSync(ring, 'utf8')).toBe(before);
    for (const name of ['keys.json', 'operator.token', 'sallyport.url', 'redis.password'])
      expect(statSync(join(secrets, 'sidecar', name)).mode & 0o077).toBe(0);
  });

  it('is three roles and a database that the owner can fill, and nobody else', async () => {
    await using postgres = await startPostgres();
    execFileSync('sh', [deploy('make-roles.sh'), join(secrets, 'postgres')], {
      env: {
        PATH: process.env['PATH'] ?? '',
        PGHOST: '127.0.0.1',
        PGPORT: String(postgres.port),
        PGPASSWORD: postgres.passwords.get('postgres') ?? '',
      },
    });
    const urlOf = (role: string) =>
      readFileSync(join(secrets, 'sidecar', `${role}.url`), 'utf8').replace(
        'postgres:5432',
        `127.0.0.1:${postgres.port}`,
      );
    const migrated = sallyport(['migrate', '--grant-to', 'sallyport', '--grant-audit-to', 'sallyport_audit'], {
      SALLYPORT_POSTGRES_URL: urlOf('sallyport_owner'),
      SALLYPORT_POSTGRES_TLS: 'off',
    });
    expect(migrated.stderr).toBe('');
    const refused = sallyport(['migrate'], {
      SALLYPORT_POSTGRES_URL: urlOf('sallyport'),
      SALLYPORT_POSTGRES_TLS: 'off',
    });
    expect([refused.status, migrated.status]).toEqual([78, 0]);
  });
});

describe('the image', () => {
  it('holds all that the program loads', () => {
    const stage = join(made, 'image');
    const copies = [...dockerfile.matchAll(/^COPY --from=build (\/app\/\S+) (\/app\/\S+)$/gm)];
    expect(copies.length).toBeGreaterThan(3);
    for (const [, from = '', to = ''] of copies) {
      const [source, target] = [join(projectRoot, from.slice('/app/'.length)), join(stage, to)];
      mkdirSync(dirname(target), { recursive: true });
      if (to.endsWith('/bin/node')) symlinkSync(source, target);
      else cpSync(source, target, { recursive: true });
    }
    const [node = '', ...args] = JSON.parse(/^ENTRYPOINT (.+)$/m.exec(dockerfile)?.[1] ?? '[]') as string[];
    const run = (...more: readonly string[]) =>
      spawnSync(join(stage, node), [...args.map((arg) => join(stage, arg)), ...more], {
        encoding: 'utf8',
        timeout: 60_000,
        env: {
          SALLYPORT_DATA_DIR: join(made, 'data'),
          SALLYPORT_LISTENERS_GRPC_ADDRESS: '127.0.0.1:0',
          SALLYPORT_LISTENERS_HTTP_ADDRESS: '',
          SALLYPORT_LISTENERS_ADMIN_ADDRESS: '',
        },
      });
    expect(run('version').status).toBe(0);
    // Starts all of it, plays a whole journey and ends.
    const { stdout, status } = run('demo', '--yes');
    expect(stdout).toContain('receipt');
    expect(status).toBe(0);
  });
});
