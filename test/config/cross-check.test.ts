import { describe, expect, it } from 'vitest';
import { loadSettings } from '#src/config/load.ts';
import { ConfigError } from '#src/config/problem.ts';
import { temporaryFile } from '../support/settings-file.ts';

const load = (content: string) => loadSettings({ file: temporaryFile(content), env: {} });

async function refusal(content: string): Promise<readonly string[]> {
  const error: unknown = await load(content).catch((thrown: unknown) => thrown);
  if (!(error instanceof ConfigError)) throw new Error('expected a ConfigError');
  return error.problems.map(({ where, key, what }) => `${where.replace(/^.*:(\d+:\d+)$/, '$1')} ${key} ${what}`);
}

describe('rules between settings', () => {
  it.each([
    [
      'a realm that is not served',
      'policy: { rules: [{ match: { realm: shop } }] }',
      ['policy.rules[0].match.realm matches none'],
    ],
    [
      'production without files for its key and token',
      'environment: production',
      ['keys.file must be given in production', 'operator.token_file must be given in production'],
    ],
    [
      'gRPC beyond loopback',
      'listeners: { grpc: { address: "0.0.0.0:50051" } }',
      ['listeners.grpc.address is beyond loopback'],
    ],
    [
      'HTTP beyond loopback',
      'listeners: { http: { address: "10.1.2.3:8080" } }',
      ['listeners.http.address is beyond loopback'],
    ],
    [
      'a name that only looks like loopback',
      'listeners: { http: { address: "127.0.0.1.evil.example:8080" } }',
      ['listeners.http.address is beyond loopback'],
    ],
    [
      'one port twice',
      'listeners: { http: { address: "127.0.0.1:50051" } }',
      ['listeners.http.address needs port 50051'],
    ],
    [
      'one port on all interfaces',
      'listeners: { http: { address: "127.0.0.1:9090" } }',
      ['listeners.admin.address needs port 9090'],
    ],
    ['no listener at all', 'listeners: { grpc: { address: "" }, http: { address: "" } }', ['listeners are all off']],
    [
      'a hard stop before the short lock',
      'budget: { short_attempts: 5, hard_attempts: 5 }',
      ['budget.hard_attempts must be above'],
    ],
    [
      'an idle limit beyond the absolute one',
      'sessions: { idle: 2h, absolute: 1h }',
      ['sessions.idle must not be longer'],
    ],
    [
      'use written down more rarely than the idle limit',
      'sessions: { idle: 1m, touch_interval: 1m }',
      ['sessions.touch_interval must be shorter'],
    ],
    [
      'SMS for critical actions in the nist profile',
      'profile: nist\npolicy: { sms_for_critical: true }',
      ['policy.sms_for_critical cannot be on'],
    ],
    [
      'defaults that loosen with sensitivity',
      'policy: { defaults: { sensitive: none } }',
      ['policy.defaults.sensitive is looser than policy.defaults.normal'],
    ],
    [
      'an age for a requirement without one',
      'policy: { rules: [{ require: mfa_once, max_age: 5m }] }',
      ['policy.rules[0].max_age belongs to'],
    ],
    [
      'a rule that nobody can satisfy',
      'policy: { rules: [{ methods: [push] }] }',
      ['policy.rules[0].methods names only methods'],
    ],
    [
      '`**` inside a segment',
      'policy: { rules: [{ match: { resource: "a/b**" } }] }',
      ['policy.rules[0].match.resource has `**` inside'],
    ],
    [
      'a path without its slash',
      'policy: { rules: [{ match: { path: admin } }] }',
      ['policy.rules[0].match.path must begin with /'],
    ],
    [
      'an empty pattern',
      'policy: { rules: [{ match: { path: "" } }] }',
      ['policy.rules[0].match.path must not be empty'],
    ],
  ])('refuse %s, once and with its place', async (_name, content, expected) => {
    const problems = await refusal(content);
    expect(problems).toHaveLength(expected.length);
    for (const [index, text] of expected.entries()) {
      expect(problems[index]).toContain(text);
      expect(problems[index]).toMatch(/^\d+:\d+ |^default |sallyport/);
    }
  });

  it.each([
    [
      'production with both files',
      'environment: production\nkeys: { file: /run/keys.json }\noperator: { token_file: /run/token }',
    ],
    [
      'loopback in its other spellings',
      'listeners: { grpc: { address: "[::1]:50051" }, http: { address: "localhost:8080" } }',
    ],
    [
      'ports chosen by the system on every listener',
      'listeners: { grpc: { address: "127.0.0.1:0" }, http: { address: "127.0.0.1:0" } }',
    ],
    ['a socket alone', 'listeners: { grpc: { address: "", socket: /run/s.sock }, http: { address: "" } }'],
    ['the nist profile', 'profile: nist'],
  ])('accept %s', async (_name, content) => {
    expect((await load(content)).notices).toEqual([]);
  });
});

describe('notices of what loosens', () => {
  it.each([
    ['MFA off', 'mfa: { enabled: false }', 'every challenge is approved without a proof'],
    [
      'listeners beyond loopback by force',
      'listeners: { allow_insecure: true, grpc: { address: "0.0.0.0:50051" } }',
      'whoever reaches a listener is trusted',
    ],
    [
      'a default of critical below once per action',
      'policy: { defaults: { sensitive: session, critical: session } }',
      'policy.defaults.critical is session',
    ],
    ['methods that leave nothing to enrol', 'mfa: { methods: [backup_code] }', 'nothing that a person can enrol'],
    [
      'rules that are never reached',
      'policy: { rules: [{}, { require: deny }] }',
      'policy.rules[0] matches everything',
    ],
    ['an outage rule', 'policy: { rules: [{ match: { action: x }, outage: deny }] }', 'nothing reads it'],
  ])('tell of %s', async (_name, content, text) => {
    const { notices } = await load(content);
    expect(notices.filter((notice) => notice.includes(text))).toHaveLength(1);
  });
});
