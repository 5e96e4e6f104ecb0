import { describe, expect, it } from 'vitest';
import { run } from '#src/cli/program.ts';
import { VERSION } from '#src/version.ts';
import { RecordingIo } from '../support/recording-io.ts';
import { temporaryFile } from '../support/settings-file.ts';

async function sallyport(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const io = new RecordingIo(env);
  const code = await run(argv, io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

describe('the program', () => {
  it('shows an overview with examples and exit codes', async () => {
    const { code, stdout } = await sallyport(['--help']);
    expect(code).toBe(0);
    for (const word of ['serve', 'migrate', 'demo', 'audit', 'policy', 'config', 'version', 'Examples:', 'Exit codes:'])
      expect(stdout).toContain(word);
  });

  it('shows the overview and ends with 2 when no command is given', async () => {
    const { code, stderr } = await sallyport([]);
    expect(code).toBe(2);
    expect(stderr).toContain('Usage: sallyport');
  });

  it.each([
    [['serv'], 'Did you mean serve?'],
    [['config', 'chekc'], 'Did you mean check?'],
    [['policy', 'test', '--sensitivty', 'low'], 'Did you mean --sensitivity?'],
    [['policy', 'test', '--sensitivity', 'huge'], 'Allowed choices are low, normal, sensitive, critical'],
    [['policy', 'test', '--enrolled', 'totp,smoke'], 'smoke is not one of totp, sms, push, webauthn, backup_code'],
    [['policy', 'test', '--mfa-age', '5'], 'Needs a duration'],
    [['config', 'check', '--set', 'sessions.cap'], 'Needs key=value'],
  ])('ends with 2 for the command line %j and says what would be right', async (argv, hint) => {
    const { code, stderr, stdout } = await sallyport(argv);
    expect(code).toBe(2);
    expect(stderr).toContain(hint);
    expect(stdout).toBe('');
  });

  it.each(['serve', 'migrate', 'policy test', 'config', 'config print', 'config check', 'version'])(
    'has help for %s',
    async (command) => {
      const { code, stdout } = await sallyport([...command.split(' '), '--help']);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: sallyport ${command}`);
    },
  );

  it('prints its version in three ways', async () => {
    expect((await sallyport(['version'])).stdout).toBe(`sallyport ${VERSION}\n`);
    expect((await sallyport(['--version'])).stdout).toBe(`${VERSION}\n`);
    expect(JSON.parse((await sallyport(['version', '--json'])).stdout)).toEqual({
      name: 'sallyport',
      version: VERSION,
    });
  });
});

describe('config check', () => {
  it('ends with 0 and says notes on stderr', async () => {
    const { code, stdout, stderr } = await sallyport(['config', 'check'], { MFA_ENABLED: 'false' });
    expect(code).toBe(0);
    expect(stdout).toBe('the settings are good\n');
    expect(stderr).toContain('note: mfa.enabled is off');
  });

  it('ends with 78 and tells every problem', async () => {
    const file = temporaryFile('sesions: {}\nmfa: { timeout: 60 }\n');
    const { code, stderr } = await sallyport(['config', 'check', file]);
    expect(code).toBe(78);
    expect(stderr).toContain('2 problems in the settings');
    expect(stderr).toContain(`${file}:1:1: sesions is not a setting; did you mean sessions?`);
  });

  it('ends with 66 when the file is not there, however it is named', async () => {
    expect((await sallyport(['config', 'check', '/nonexistent.yaml'])).code).toBe(66);
    expect((await sallyport(['config', 'check', '-c', '/nonexistent.yaml'])).code).toBe(66);
    expect((await sallyport(['config', 'check'], { SALLYPORT_CONFIG: '/nonexistent.yaml' })).code).toBe(66);
  });
});

describe('config print', () => {
  it('shows values with their origin and keeps secrets hidden', async () => {
    const env = { TWILIO_AUTH_TOKEN: 'hunter2-secret', SALLYPORT_SESSIONS_CAP: '3' };
    const { stdout, code } = await sallyport(
      ['config', 'print', '--set', 'log.level=debug', '--data-dir', '/tmp/x'],
      env,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^sessions\.cap +3 +SALLYPORT_SESSIONS_CAP$/m);
    expect(stdout).toMatch(/^log\.level +debug +--set log\.level$/m);
    expect(stdout).toMatch(/^data_dir +\/tmp\/x +--set data_dir$/m);
    expect(stdout).toMatch(/^sessions\.idle +1h +default$/m);
    expect(stdout).toMatch(/^twilio\.auth_token +"\[redacted\]" +TWILIO_AUTH_TOKEN$/m);
    expect(stdout).not.toContain('hunter2');
  });

  it('prints JSON on request', async () => {
    const { stdout } = await sallyport(['config', 'print', '--json'], { TWILIO_AUTH_TOKEN: 'hunter2-secret' });
    const settings = JSON.parse(stdout) as { key: string; value: unknown; source: string }[];
    expect(settings).toContainEqual({ key: 'mfa.timeout', value: '60s', source: 'default', where: 'default' });
    expect(stdout).not.toContain('hunter2');
  });
});

describe('config example and schema', () => {
  it('print what other programs can read', async () => {
    const example = temporaryFile((await sallyport(['config', 'example'])).stdout);
    expect((await sallyport(['config', 'check', example])).code).toBe(0);
    expect(JSON.parse((await sallyport(['config', 'schema'])).stdout)).toMatchObject({ type: 'object' });
    expect((await sallyport(['config', 'reference'])).stdout).toContain('| `mfa.timeout` | `60s` |');
  });
});

describe('policy test', () => {
  const critical = [
    'policy',
    'test',
    '--action',
    'transfer.create',
    '--resource',
    'accounts/42',
    '--sensitivity',
    'critical',
  ];

  it('prints what docs/cli.md shows', async () => {
    const { readFileSync } = await import('node:fs');
    const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
    const { stdout } = await sallyport([...critical, '--enrolled', 'totp']);
    expect(page).toContain(`\`\`\`text\n${stdout}\`\`\``);
  });

  it('names the rule of the settings that decides, and why others do not', async () => {
    const file = temporaryFile(`policy:
  rules:
    - { description: Reads, match: { http_methods: [GET] }, sensitivity: low }
    - { description: Admin, match: { path: /admin/** }, require: deny }
`);
    const { stdout } = await sallyport([
      'policy',
      'test',
      '-c',
      file,
      '--path',
      '/admin/users?x=1',
      '--method',
      'DELETE',
    ]);
    expect(stdout).toMatch(/^deny\n {2}rule +policy\.rules\[1\]\n/);
    expect(stdout).toContain('policy.rules[0] (Reads) does not match: method DELETE is not one of GET');
  });

  it('answers JSON on request', async () => {
    const { stdout } = await sallyport(['policy', 'test', '--sensitivity', 'sensitive', '--mfa-age', '5m', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      verdict: 'allow',
      reason: 'RECENT_MFA',
      rule: 'policy.defaults.sensitive',
    });
  });

  it.each([
    ['allow', ['--sensitivity', 'low'], 0],
    ['challenge', ['--sensitivity', 'critical'], 10],
    ['deny', ['--path', '/a/../b'], 11],
  ])('tells %s by the exit code when asked to', async (_verdict, args, expected) => {
    expect((await sallyport(['policy', 'test', ...args])).code).toBe(0);
    expect((await sallyport(['policy', 'test', ...args, '--exit-code'])).code).toBe(expected);
  });

  it('refuses a realm that is not served', async () => {
    const { code, stderr } = await sallyport(['policy', 'test', '--realm', 'nowhere']);
    expect(code).toBe(65);
    expect(stderr).toContain('realms are default');
  });
});
