import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { SETTINGS } from '#src/config/keys.ts';
import { loadConfig, loadSettings, type Sources } from '#src/config/load.ts';
import { ConfigError, type Problem } from '#src/config/problem.ts';
import { temporaryFile } from '../support/settings-file.ts';

const load = (sources: Partial<Sources> = {}) => loadSettings({ env: {}, ...sources });
const fromFile = (content: string, rest: Partial<Sources> = {}) => load({ file: temporaryFile(content), ...rest });

/** The problems, with the folder taken out of `where`. */
async function problemsOf(loading: Promise<unknown>): Promise<readonly Problem[]> {
  const error: unknown = await loading.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConfigError)) throw new Error(`expected a ConfigError, got ${inspect(error)}`);
  return error.problems.map((problem) => ({ ...problem, where: problem.where.replace(/^.*\//, '') }));
}

describe('precedence', () => {
  it('starts from the defaults', async () => {
    const { config, origins, notices } = await load();
    expect(config.mfa).toEqual({ enabled: true, methods: ['totp', 'backup_code'], timeout: 60_000 });
    expect(config.sessions).toMatchObject({ cap: 5, policy: 'evict_oldest', absolute: 86_400_000 });
    expect(config.listeners.grpc.address).toEqual({ host: '127.0.0.1', port: 50_051 });
    expect(config.audit.max_bytes).toBe(2 ** 30);
    expect(notices).toEqual([]);
    expect([...origins.values()].every(({ source }) => source === 'default')).toBe(true);
    expect(origins.size).toBe(SETTINGS.length);
  });

  it('puts the file over the defaults, the environment over the file, and flags over all', async () => {
    const { config, origins } = await fromFile('sessions:\n  cap: 2\n  idle: 5m\nbudget: { short_attempts: 3 }\n', {
      env: { SALLYPORT_SESSIONS_CAP: '3', SALLYPORT_BUDGET_SHORT_ATTEMPTS: '4' },
      flags: { 'sessions.cap': '4' },
    });
    expect(config.sessions).toMatchObject({ cap: 4, idle: 300_000 });
    expect(config.budget.short_attempts).toBe(4);
    expect(origins.get('sessions.cap')).toEqual({ source: 'flag', where: '--set sessions.cap' });
    expect(origins.get('budget.short_attempts')).toEqual({ source: 'env', where: 'SALLYPORT_BUDGET_SHORT_ATTEMPTS' });
    expect(origins.get('sessions.idle')?.where).toMatch(/sallyport\.yaml:3:3$/);
  });

  it('replaces lists and does not merge them', async () => {
    const { config } = await fromFile('realms: [a, b]\n', { env: { SALLYPORT_REALMS: '["c"]' } });
    expect(config.realms).toEqual(['c']);
  });

  it('freezes everything', async () => {
    const { config } = await fromFile('policy:\n  rules:\n    - match: { action: x }\n');
    const rules = config.policy.rules as unknown[];
    expect(() => rules.push({})).toThrow(TypeError);
    expect(Object.isFrozen(config.policy.rules[0]?.match)).toBe(true);
  });

  it('takes an empty file and sections whose lines are all commented out', async () => {
    expect((await fromFile('')).config).toEqual((await load()).config);
    expect((await fromFile('sessions:\n  # cap: 3\nlisteners:\n  grpc:\n')).config).toEqual((await load()).config);
  });
});

describe('environment', () => {
  it('reads the names of the mission', async () => {
    const { config } = await load({
      env: {
        MFA_ENABLED: 'false',
        MFA_METHODS: '["backup_code","totp"]',
        MFA_TIMEOUT_SECONDS: '45',
        TWILIO_ACCOUNT_SID: 'AC1',
        TWILIO_AUTH_TOKEN: 'hush',
        TWILIO_FROM_NUMBER: '+14155550100',
      },
    });
    expect(config.mfa).toEqual({ enabled: false, methods: ['backup_code', 'totp'], timeout: 45_000 });
    expect(config.twilio).toMatchObject({ account_sid: 'AC1', from_number: '+14155550100' });
    expect(config.twilio.auth_token?.reveal()).toBe('hush');
  });

  it('has one name for each setting and no name twice', () => {
    const names = SETTINGS.map(({ envName }) => envName);
    expect(new Set(names).size).toBe(names.length);
  });

  it('refuses two names with two values and takes two with one', async () => {
    expect(await problemsOf(load({ env: { SALLYPORT_MFA_TIMEOUT: '30s', MFA_TIMEOUT_SECONDS: '31' } }))).toEqual([
      {
        where: 'MFA_TIMEOUT_SECONDS',
        key: 'mfa.timeout',
        what: 'is also set by SALLYPORT_MFA_TIMEOUT, to another value; keep one of them',
      },
    ]);
    const same = await load({ env: { SALLYPORT_MFA_ENABLED: 'false', MFA_ENABLED: 'false' } });
    expect(same.config.mfa.enabled).toBe(false);
  });

  it('refuses unknown names of its own and names the nearest', async () => {
    expect(await problemsOf(load({ env: { SALLYPORT_SESION_CAP: '3', SALLYPORT_XYZZY: '', PATH: '/bin' } }))).toEqual([
      { where: 'SALLYPORT_SESION_CAP', key: '', what: 'is not a setting; did you mean SALLYPORT_SESSIONS_CAP?' },
      { where: 'SALLYPORT_XYZZY', key: '', what: 'is not a setting' },
    ]);
  });

  it('lets pass what Kubernetes puts there for a Service named sallyport', async () => {
    const env = {
      SALLYPORT_SERVICE_HOST: '10.0.0.1',
      SALLYPORT_SERVICE_PORT: '50051',
      SALLYPORT_SERVICE_PORT_GRPC: '50051',
      SALLYPORT_PORT: 'tcp://10.0.0.1:50051',
      SALLYPORT_PORT_50051_TCP: 'tcp://10.0.0.1:50051',
      SALLYPORT_PORT_50051_TCP_ADDR: '10.0.0.1',
    };
    expect((await load({ env })).config).toEqual((await load()).config);
  });

  it.each([
    ['MFA_ENABLED', 'yes', 'must be true or false, not "yes"'],
    ['MFA_ENABLED', '', 'must be true or false, not ""'],
    ['MFA_ENABLED', '1', 'must be true or false, not 1'],
    [
      'MFA_METHODS',
      'totp',
      'must be a list of totp, sms, push, webauthn, backup_code, written as JSON, for instance ["a", "b"], not "totp"',
    ],
    ['MFA_METHODS', '"totp"', 'must be a list of totp, sms, push, webauthn, backup_code, not "totp"'],
    ['MFA_METHODS', '[]', 'must not be empty'],
    ['MFA_METHODS', '["totp","totp"]', 'must not name anything twice'],
    ['MFA_TIMEOUT_SECONDS', '60s', 'must be a whole number, not "60s"'],
    ['MFA_TIMEOUT_SECONDS', '-1', 'must be a whole number, not "-1"'],
    ['MFA_TIMEOUT_SECONDS', '601', 'must be a duration from 1s to 10m, for instance 90s, not "601s"'],
    ['SALLYPORT_SESSIONS_CAP', '5.5', 'must be a whole number from 1 to 100, not 5.5'],
    ['SALLYPORT_SESSIONS_CAP', '1e9', 'must be a whole number from 1 to 100, not 1000000000'],
    ['SALLYPORT_LIMITS_MESSAGE_BYTES', '64k', 'must be a size from 4KiB to 4MiB, for instance 64KiB, not "64k"'],
    ['SALLYPORT_LIMITS_MESSAGE_BYTES', '64MiB', 'must be a size from 4KiB to 4MiB, not "64MiB"'],
    [
      'SALLYPORT_LISTENERS_GRPC_ADDRESS',
      'localhost',
      'must be an address such as 127.0.0.1:8080 or [::1]:8080, or "" for off, not "localhost"',
    ],
    ['SALLYPORT_LISTENERS_GRPC_ADDRESS', '127.0.0.1:70000', 'has a port above 65535'],
    [
      'SALLYPORT_LISTENERS_GRPC_SOCKET_MODE',
      '0666',
      'must be a file mode in quotes without rights for others, for instance "0660", not "0666"',
    ],
    ['SALLYPORT_PROFILE', 'nits', 'must be one of default, nist, not "nits"; did you mean nist?'],
    ['SALLYPORT_TOTP_ISSUER', 'a:b', 'must be 1 to 64 characters without a colon, not "a:b"'],
  ])('refuses %s=%s', async (name, value, what) => {
    expect(await problemsOf(load({ env: { [name]: value } }))).toMatchObject([
      { where: name, what: expect.stringContaining(what) },
    ]);
  });
});

describe('flags', () => {
  it('refuses an unknown key and names the nearest', async () => {
    expect(await problemsOf(load({ flags: { 'sesions.cap': '3' } }))).toEqual([
      { where: '--set sesions.cap', key: 'sesions.cap', what: 'is not a setting; did you mean sessions.cap?' },
    ]);
  });

  it('takes a secret by file only, since command lines can be read by others', async () => {
    const path = temporaryFile('hush\n', 'token');
    const { config } = await load({ flags: { 'twilio.auth_token.file': path } });
    expect(config.twilio.auth_token?.reveal()).toBe('hush');
    const [problem] = await problemsOf(load({ flags: { 'twilio.auth_token': 'hush' } }));
    expect(problem?.what).toContain('use twilio.auth_token.file');
    expect(JSON.stringify(problem)).not.toContain('hush');
  });
});

describe('files', () => {
  it('tells every problem of every source at once, with its place', async () => {
    const content = `profil: nist
mfa:
  timeout: 60
  methods: [totp, smss]
listeners:
  grpc: { socket_mode: 0660, roles: [] }
policy:
  rules:
    - match: { pathh: /x }
      require: never
timeout: 3s
`;
    const loading = fromFile(content, { env: { SALLYPORT_MFA_ENABLED: 'maybe' }, flags: { 'log.level': 'warning' } });
    expect((await problemsOf(loading)).map(({ where, key, what }) => `${where} ${key} ${what}`)).toEqual([
      'SALLYPORT_MFA_ENABLED mfa.enabled must be true or false, not "maybe"',
      'sallyport.yaml:6:11 listeners.grpc.socket_mode must be a file mode in quotes without rights for others, for instance "0660", not 660',
      'sallyport.yaml:6:30 listeners.grpc.roles must not be empty',
      'sallyport.yaml:4:19 mfa.methods[1] must be one of totp, sms, push, webauthn, backup_code, not "smss"; did you mean sms?',
      'sallyport.yaml:3:3 mfa.timeout must be a duration from 1s to 10m, for instance 90s, not 60',
      'sallyport.yaml:9:16 policy.rules[0].match.pathh is not a setting; did you mean policy.rules[0].match.path?',
      'sallyport.yaml:10:7 policy.rules[0].require must be one of none, session, mfa_recent, mfa_once, deny, not "never"',
      '--set log.level log.level must be one of debug, info, warn, error, not "warning"; did you mean warn?',
      'sallyport.yaml:1:1 profil is not a setting; did you mean profile?',
      'sallyport.yaml:11:1 timeout is not a setting; did you mean mfa.timeout?',
    ]);
  });

  it.each([
    ['broken syntax', 'a: [1\nb: 2\n', 'sallyport.yaml:2:1'],
    ['a key twice', 'profile: nist\nprofile: default\n', 'sallyport.yaml:2:1'],
    ['a list', '- a\n', 'sallyport.yaml:1:1'],
    ['text', 'hello\n', 'sallyport.yaml:1:1'],
    [
      'aliases that multiply',
      `a: &a [1]\n${['b', 'c', 'd'].map((n, i) => `${n}: &${n} [${`*${'abc'[i]},`.repeat(30)}]`).join('\n')}\n`,
      'sallyport.yaml',
    ],
  ])('refuses %s', async (_name, content, where) => {
    const problems = await problemsOf(fromFile(content));
    expect(problems[0]?.where).toBe(where);
  });

  it.each([
    '__proto__: { polluted: true }',
    'constructor: { x: 1 }',
    'mfa: { __proto__: { enabled: false } }',
    'toString: 1',
  ])('treats %j as any unknown key', async (content) => {
    const problems = await problemsOf(fromFile(content));
    expect(problems.map(({ what }) => what)).toEqual([expect.stringContaining('is not a setting')]);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('says that a file is missing', async () => {
    const error: unknown = await load({ file: '/nonexistent/sallyport.yaml' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ unreadable: true, problems: [{ what: 'there is no such file' }] });
  });

  it('reports a section that is something else, with environment settings inside it', async () => {
    expect(await problemsOf(fromFile('sessions: 3\n', { env: { SALLYPORT_SESSIONS_CAP: '3' } }))).toEqual([
      { where: 'sallyport.yaml:1:1', key: 'sessions', what: 'must be a section, not 3' },
    ]);
  });
});

describe('secrets', () => {
  it('reads a reference to a file and to the environment', async () => {
    const path = temporaryFile('from file\n', 'token');
    const byFile = await fromFile(`twilio: { auth_token: { file: ${path} } }`);
    const byName = await fromFile('twilio: { auth_token: { env: MY_TOKEN } }', { env: { MY_TOKEN: 'from env' } });
    const byNamedFile = await load({ env: { TWILIO_AUTH_TOKEN_FILE: path } });
    expect(byFile.config.twilio.auth_token?.reveal()).toBe('from file');
    expect(byName.config.twilio.auth_token?.reveal()).toBe('from env');
    expect(byNamedFile.config.twilio.auth_token?.reveal()).toBe('from file');
  });

  it.each([
    ['written into the file', 'hunter2-secret'],
    ['in a reference of another kind', '{ value: hunter2-secret }'],
    ['in two references', '{ file: /hunter2-secret, env: X }'],
  ])('refuses a secret %s without repeating it', async (_name, written) => {
    const error: unknown = await fromFile(`twilio: { auth_token: ${written} }`).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect(inspect(error)).toContain('a secret is not written into settings');
    expect(inspect(error)).not.toContain('hunter2-secret');
  });

  it('refuses a reference that leads nowhere', async () => {
    const empty = temporaryFile('\n', 'token');
    for (const written of ['{ file: /nonexistent }', '{ env: NOT_SET }', `{ file: ${empty} }`])
      expect(await problemsOf(fromFile(`twilio: { auth_token: ${written} }`))).toHaveLength(1);
  });

  it('shows itself in no print, log or JSON', async () => {
    const { config, written } = await load({ env: { TWILIO_AUTH_TOKEN: 'hunter2-secret' } });
    const shown = [
      JSON.stringify(config),
      inspect(config, { depth: 9, showHidden: true }),
      `${config.twilio.auth_token}`,
      inspect(written, { depth: 9, showHidden: true, maxArrayLength: null }),
      JSON.stringify([...written]),
    ];
    for (const text of shown) {
      expect(text).not.toContain('hunter2-secret');
      expect(text).toContain('[redacted]');
    }
  });
});

describe('notices', () => {
  it('is answered by loadConfig with the settings alone', async () => {
    expect(await loadConfig({ env: {} })).toEqual((await load()).config);
  });
});
