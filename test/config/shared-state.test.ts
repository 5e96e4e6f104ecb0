import { describe, expect, it } from 'vitest';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { loadSettings } from '#src/config/load.ts';
import { isSameDatabase, readPostgresUrl } from '#src/config/postgres-url.ts';
import { ConfigError } from '#src/config/problem.ts';
import { DEFAULT_LIMITS } from '../support/outage-cells.ts';
import { temporaryFile } from '../support/settings-file.ts';

const PASSWORD = 'hunter2hunter2';
const ENV = {
  PG: `postgresql://sallyport:${PASSWORD}@db.example:5432/sallyport`,
  PG_EVENTS: `postgresql://flush:${PASSWORD}@DB.example/sallyport`,
  PG_LOCAL: `postgresql://sallyport:${PASSWORD}@127.0.0.1/sallyport`,
  PG_SOCKET: 'postgresql://sallyport@/sallyport?host=/run/postgresql',
  PG_BARE: 'postgresql://sallyport@db.example/sallyport',
  PG_OTHER: `postgresql://flush:${PASSWORD}@other.example/sallyport`,
  PG_ODD: `postgresql://sallyport:${PASSWORD}/@db.example/sallyport`,
  HUSH: PASSWORD,
};
const URL = 'postgres: { url: { env: PG } }\n';
const PRODUCTION = 'environment: production\nkeys: { file: /run/keys.json }\noperator: { token_file: /run/token }\n';

const load = (content: string) => loadSettings({ file: temporaryFile(content), env: ENV });

async function refusal(content: string): Promise<readonly string[]> {
  const error: unknown = await load(content).catch((thrown: unknown) => thrown);
  if (!(error instanceof ConfigError)) throw new Error('expected a ConfigError');
  expect(error.message).not.toContain(PASSWORD);
  return error.problems.map(({ where, key, what }) => {
    expect(where).not.toBe('');
    return `${key} ${what}`;
  });
}

describe('settings of shared state', () => {
  it.each([
    ['Redis without PostgreSQL', 'redis: { mode: single }', ['redis.mode needs postgres.url']],
    ['a strict trail without PostgreSQL', 'audit: { mode: strict }', ['audit.mode needs postgres.url']],
    ['a way for events alone', 'postgres: { audit_url: { env: PG } }', ['postgres.audit_url needs postgres.url']],
    ['what is no URL', 'postgres: { url: { env: HUSH } }', ['postgres.url must begin with postgresql://']],
    ['a password with a bare slash', 'postgres: { url: { env: PG_ODD } }', ['postgres.url cannot be read: write']],
    [
      'events that go elsewhere',
      'postgres: { url: { env: PG }, audit_url: { env: PG_OTHER } }',
      ['postgres.audit_url must lead to the same host, port and database'],
    ],
    [
      'a connection in the clear that leaves the machine',
      'postgres: { url: { env: PG }, tls: off }'.replace('off', '"off"'),
      ['postgres.tls is off, but postgres.url leads beyond this machine'],
    ],
    [
      'two servers that are no Cluster',
      `${URL}redis: { mode: single, addresses: ["127.0.0.1:1", "127.0.0.1:2"] }`,
      ['redis.addresses names more than one server'],
    ],
    [
      'Sentinels without a name to ask for',
      `${URL}redis: { mode: sentinel, master_name: "" }`,
      ['redis.master_name must be'],
    ],
    ['a database of a Cluster', `${URL}redis: { mode: cluster, database: 3 }`, ['redis.database must be 0']],
    [
      'a password of Sentinels that are not there',
      `${URL}redis: { mode: single, sentinel_password: { env: HUSH } }`,
      ['redis.sentinel_password is for redis.mode sentinel, not single'],
    ],
    [
      'a port that is no port',
      `${URL}redis: { mode: single, addresses: ["127.0.0.1:70000"] }`,
      ['redis.addresses[0] has a port'],
    ],
    [
      'an ACL user without its password',
      `${URL}redis: { mode: single, username: app }`,
      ['redis.password must be given with redis.username'],
    ],
    [
      'half a certificate',
      `${URL}redis: { mode: single, tls: { enabled: true, cert_file: /run/c.pem } }`,
      ['redis.tls.key_file must be given'],
    ],
    [
      'authorities for a connection that is not encrypted',
      `${URL}redis: { mode: single, tls: { ca_file: /run/ca.pem } }`,
      ['redis.tls.ca_file is given, but redis.tls.enabled is false'],
    ],
    [
      'longer limits for what is more sensitive',
      'outage: { postgres: { low: 1m, normal: 2m, critical: 5m } }',
      [
        'outage.postgres.normal must not be longer than outage.postgres.low (1m)',
        'outage.postgres.critical must not be longer than outage.postgres.sensitive (1m)',
      ],
    ],
    [
      'a refusal that ends where it matters more',
      'outage: { redis: { normal: refuse } }',
      ['outage.redis.sensitive must be refuse, as outage.redis.normal is'],
    ],
    [
      'a database without a password in production',
      `${PRODUCTION}postgres: { url: { env: PG_BARE } }`,
      ['postgres.url must have a password in production'],
    ],
    [
      'an open Redis in production',
      `${PRODUCTION}${URL}redis: { mode: single, addresses: ["cache.example:6379"] }`,
      ['redis.tls.enabled must be true in production', 'redis.password must be given in production'],
    ],
  ])('refuse %s', async (_name, content, expected) => {
    const problems = await refusal(content);
    expect(problems).toHaveLength(expected.length);
    for (const [index, text] of expected.entries()) expect(problems[index]).toContain(text);
  });

  it.each([
    ['PostgreSQL alone', URL],
    ['PostgreSQL over a Unix socket, without TLS', 'postgres: { url: { env: PG_SOCKET }, tls: "off" }'],
    ['PostgreSQL on loopback, without TLS', 'postgres: { url: { env: PG_LOCAL }, tls: "off" }'],
    ['a role for events, host in capitals', 'postgres: { url: { env: PG }, audit_url: { env: PG_EVENTS } }'],
    ['Redis in front', `${URL}redis: { mode: single }`],
    ['Sentinels', `${URL}redis: { mode: sentinel, addresses: ["[::1]:26379", "localhost:26380"] }`],
    ['a strict trail', `${URL}audit: { mode: strict }`],
    ['refusal from a sensitivity on', 'outage: { redis: { sensitive: refuse, critical: refuse } }'],
    ['shorter limits', `${URL}outage: { postgres: { low: 1m, normal: 30s, sensitive: 0s } }`],
    [
      'production with all that it asks for',
      `${PRODUCTION}postgres: { url: { env: PG }, audit_url: { env: PG_EVENTS } }
redis: { mode: cluster, addresses: ["cache.example:6379"], password: { env: HUSH }, tls: { enabled: true } }`,
    ],
    [
      'a certificate in the place of the password',
      `${PRODUCTION}postgres: { url: { env: PG }, audit_url: { env: PG_EVENTS } }
redis: { mode: single, addresses: ["cache.example:6379"], tls: { enabled: true, cert_file: /c.pem, key_file: /k.pem } }`,
    ],
  ])('accept %s', async (_name, content) => {
    expect((await load(content)).notices).toEqual([]);
  });

  it.each([
    [
      'critical use that goes on without the database',
      `${URL}outage: { postgres: { critical: 30s } }`,
      'outage.postgres.critical is 30s',
    ],
    ['a limit above the usual one', `${URL}outage: { postgres: { low: 1h } }`, 'outage.postgres.low is 60m'],
    [
      'a Redis beyond loopback in the clear',
      `${URL}redis: { mode: single, addresses: ["cache.example:6379"] }`,
      'redis.tls.enabled is false',
    ],
    ['a trail that is full before the limit', `${URL}audit: { max_age: 10m }`, 'audit.max_age is shorter'],
    ['events flushed by who may do more', `${PRODUCTION}${URL}`, 'postgres.audit_url is left out'],
    [
      'one user for both',
      'postgres: { url: { env: PG }, audit_url: { env: PG } }',
      'postgres.audit_url has the user of postgres.url',
    ],
  ])('tell of %s', async (_name, content, text) => {
    const { notices } = await load(content);
    expect(notices.filter((notice) => notice.includes(text))).toHaveLength(1);
    expect(notices.join()).not.toContain(PASSWORD);
  });

  it('say nothing of limits that nothing reads', async () => {
    expect((await load('outage: { postgres: { low: 1h, critical: 1s } }')).notices).toEqual([]);
  });

  it('have the limits that the outage table is told with', async () => {
    const { outage } = (await load('')).config;
    expect({ postgres: outage.postgres, redis: outage.redis }).toEqual(DEFAULT_LIMITS);
  });
});

describe('the URL of PostgreSQL', () => {
  const wrong = [
    '',
    'mysql://u:p@h/d',
    'postgresql://',
    'postgresql://u:p@/d',
    'postgresql://h/d',
    'postgresql://u:p@h',
    'postgresql://u:p@h/',
    'postgresql://u:p@h/d/e',
    'postgresql://u:p@h1,h2/d',
    'postgresql://u:p@ss@h/d',
    'postgresql://u:p/ss@h/d',
    'postgresql://u:p#ss@h/d',
    'postgresql://u:p%ss@h/d',
    'postgresql://u:p@h:0/d',
    'postgresql://u:p@h:99999/d',
    'postgresql://u:p@h/d?port=x',
    'postgresql://u:p@h/d?host=other',
  ];
  const right = [
    'postgresql://u:p@h/d',
    'postgres://u:p%40ss@h:6432/d',
    'postgresql://u@[::1]/d',
    'postgresql://u@/d?host=/run/postgresql',
    'postgresql://u@/d?host=/run/postgresql&port=5433',
    'postgresql://u:p@h/d?sslmode=verify-full&application_name=x',
  ];
  const connect = (url: string) => connectionSettings({ url, tls: 'verify', caFile: '', connectTimeoutMs: 1 });

  it.each(wrong)('is refused by the settings and by whoever connects: %s', (url) => {
    expect(readPostgresUrl(url)).toBeTypeOf('string');
    expect(() => connect(url)).toThrow();
  });

  it.each(right)('is read alike by the settings and by whoever connects: %s', (url) => {
    const place = readPostgresUrl(url);
    if (typeof place === 'string') throw new Error(place);
    const { client, user, database } = connect(url);
    expect(place).toMatchObject({ host: client.host, port: client.port, user, database });
  });

  it('leads to the same database as another by host, port and name', () => {
    const [a, b, other] = [right[0], 'postgresql://v:q@H:5432/d', 'postgresql://u:p@h:5433/d'].map((url) =>
      readPostgresUrl(url ?? ''),
    );
    if (typeof a !== 'object' || typeof b !== 'object' || typeof other !== 'object') throw new Error('unreadable');
    expect([isSameDatabase(a, b), isSameDatabase(a, other)]).toEqual([true, false]);
  });
});
