import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { connectionSettings, type PostgresAddress } from '#src/adapters/postgres/connection-settings.ts';
import { temporaryFile } from '../../support/settings-file.ts';

function settingsOf(url: string, more: Partial<PostgresAddress> = {}) {
  return connectionSettings({ url, tls: 'verify', caFile: '', connectTimeoutMs: 1_000, ...more });
}

function refusalOf(url: string, more: Partial<PostgresAddress> = {}): string {
  try {
    settingsOf(url, more);
  } catch (error) {
    expect(error).toMatchObject({ kind: 'precondition', reason: 'STORE_UNAVAILABLE' });
    return `${error}${inspect(error)}`;
  }
  throw new Error(`${url} was taken`);
}

const password = (settings: ReturnType<typeof settingsOf>) =>
  typeof settings.client.password === 'function' ? settings.client.password() : undefined;

describe('the URL', () => {
  it('gives host, port, user, password and database', () => {
    const settings = settingsOf('postgresql://sidecar:p%40ss%2Fw%3Ard%25@db.example:6432/auth');
    expect(settings).toMatchObject({
      place: 'db.example:6432/auth',
      user: 'sidecar',
      database: 'auth',
      client: { host: 'db.example', port: 6432, user: 'sidecar', database: 'auth', application_name: 'sallyport' },
    });
    expect(password(settings)).toBe('p@ss/w:rd%');
  });

  it('has the usual port, and takes both names of the scheme and IPv6', () => {
    expect(settingsOf('postgres://a:b@db.example/c').client.port).toBe(5432);
    const settings = settingsOf('postgresql://a:b@[2001:db8::1]:5433/c');
    expect(settings.client.host).toBe('2001:db8::1');
    expect(settings.place).toBe('[2001:db8::1]:5433/c');
  });

  it.each([
    'postgresql://sidecar@/auth?host=/run/postgresql&port=5433',
    'postgresql://sidecar@%2Frun%2Fpostgresql:5433/auth',
  ])('can name a Unix socket, which has no TLS: %s', (url) => {
    const settings = settingsOf(url);
    expect(settings.client).toMatchObject({ host: '/run/postgresql', port: 5433, ssl: false });
    expect(settings.place).toBe('/run/postgresql/auth');
  });

  it('says how the sidecar is called in pg_stat_activity', () => {
    expect(settingsOf('postgresql://a:b@c/d?application_name=pod-7').client.application_name).toBe('pod-7');
    expect(settingsOf('postgresql://a:b@c/d', { applicationName: 'migrate' }).client.application_name).toBe('migrate');
  });

  it('shows its password nowhere', () => {
    const settings = settingsOf('postgresql://sidecar:hunter2@db.example/auth');
    expect(inspect(settings, { depth: 9 }) + JSON.stringify(settings)).not.toContain('hunter2');
  });

  it.each([
    ['mysql://a:hunter2@c/d', 'does not begin with postgresql://'],
    ['host=db password=hunter2', 'does not begin with postgresql://'],
    ['postgresql://a:hunt@er2@c/d', '%40 for @'],
    ['postgresql://a:hunter2/x@c/d', '%2F for /'],
    ['postgresql://a:12/hunter2@c/d', '%2F for /'],
    ['postgresql://a:hunter2#x@c/d', '%23 for #'],
    ['postgresql://a:hunter2%@c/d', '%25 for %'],
    ['postgresql://a:1?hunter2=x@c/d', '%3F for ?'],
    ['postgresql://a:hunter2@c/d?hunter2=1', 'a parameter that is not known'],
    ['postgresql://a:hunter2@c:99999/d', 'cannot be read'],
    ['postgresql://a:hunter2@c:0/d', 'a port that is no port'],
    ['postgresql://a:hunter2@c', 'names no database'],
    ['postgresql://:hunter2@c/d', 'names no user'],
    ['postgresql://a:hunter2@/d', 'names no host'],
    ['postgresql://a:hunter2@c,e/d', 'more than one host'],
    ['postgresql://a:hunter2@c/d?host=other.example', 'write a host behind the @'],
    ['postgresql://a:hunter2@c/d?options=-csearch_path%3Dx', 'parameter options: a pooler would lose'],
    ['postgresql://a:hunter2@c/d?sslrootcert=/x', 'set postgres.ca_file'],
    ['postgresql://a:hunter2@c/d?port=1&port=2', 'one parameter twice'],
  ])('is refused without repeating the password when it is %s', (url, why) => {
    const said = refusalOf(url);
    expect(said).toContain(why);
    expect(said).not.toContain('hunter2');
  });
});

describe('TLS', () => {
  it('verifies the server always', () => {
    expect(settingsOf('postgresql://a:b@db.example/d').client.ssl).toEqual({
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
    });
    expect(settingsOf('postgresql://a:b@127.0.0.1/d').client.ssl).toMatchObject({ rejectUnauthorized: true });
  });

  it.each(['require', 'verify-ca', 'verify-full'])('takes sslmode=%s as the strictest', (mode) => {
    expect(settingsOf(`postgresql://a:b@db.example/d?sslmode=${mode}`).client.ssl).toMatchObject({
      rejectUnauthorized: true,
    });
  });

  it.each(['disable', 'allow', 'prefer', 'no-verify'])('is not loosened by sslmode=%s', (mode) => {
    const said = refusalOf(`postgresql://a:b@db.example/d?sslmode=${mode}`);
    expect(said).toContain(`sslmode=${mode}, which does not verify the server: leave it out`);
  });

  it.each(['ssl=0', 'ssl=no-verify', 'uselibpqcompat=true', 'sslmode=verify-full&uselibpqcompat=true'])(
    'is not loosened by %s either',
    (query) => {
      expect(refusalOf(`postgresql://a:b@db.example/d?${query}`)).toContain('the URL has the parameter');
    },
  );

  it('may be off on this machine only', () => {
    expect(settingsOf('postgresql://a:b@127.0.0.1/d', { tls: 'off' }).client.ssl).toBe(false);
    expect(settingsOf('postgresql://a:b@[::1]/d', { tls: 'off' }).client.ssl).toBe(false);
    expect(refusalOf('postgresql://a:b@db.example/d', { tls: 'off' })).toContain('would travel in the clear');
    expect(refusalOf('postgresql://a:b@127.0.0.1.example/d', { tls: 'off' })).toContain('would travel in the clear');
    expect(refusalOf('postgresql://a:b@127.0.0.1/d?sslmode=require', { tls: 'off' })).toContain(
      'make both say the same',
    );
  });

  it('needs authorities that can be read', () => {
    const url = 'postgresql://a:b@db.example/d';
    expect(refusalOf(url, { caFile: '/nonexistent.pem' })).toContain('postgres.ca_file cannot be read: ENOENT');
    expect(refusalOf(url, { caFile: temporaryFile('no PEM') })).toContain('has no certificate in it');
    const damaged = temporaryFile('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    expect(refusalOf(url, { caFile: damaged })).toContain('certificate 1 in postgres.ca_file');
  });
});

it('sets nothing for the session', () => {
  const { client } = settingsOf('postgresql://a:b@db.example/d');
  expect(Object.keys(client).sort()).toEqual([
    'application_name',
    'connectionTimeoutMillis',
    'database',
    'host',
    'keepAlive',
    'keepAliveInitialDelayMillis',
    'password',
    'port',
    'ssl',
    'user',
  ]);
});
