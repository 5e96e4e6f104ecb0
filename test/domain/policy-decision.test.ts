import { describe, expect, it } from 'vitest';
import type { Method } from '#src/domain/method.ts';
import { decide } from '#src/domain/policy-decision.ts';
import { policyRequest, policyRule, shippedPolicy } from '../support/policies.ts';

const policy = shippedPolicy();

describe('defaults by sensitivity', () => {
  it('allows low actions without a session', () => {
    expect(decide(policy, policyRequest({ sensitivity: 'low' }))).toMatchObject({
      verdict: 'allow',
      reason: 'NOT_REQUIRED',
      needsSession: false,
      rule: 'policy.defaults.low',
    });
  });

  it('allows normal actions to somebody with a session', () => {
    expect(decide(policy, policyRequest({ sensitivity: 'normal' }))).toMatchObject({
      verdict: 'allow',
      needsSession: true,
    });
  });

  it.each([
    ['just under the limit', 900_000 - 1, 'allow'],
    ['at the limit', 900_000, 'challenge'],
    ['from the future', -1, 'challenge'],
  ])('asks sensitive actions for a recent proof: %s', (_name, age, verdict) => {
    const request = policyRequest({ sensitivity: 'sensitive', mfaAt: 10_000_000 - age });
    expect(decide(policy, request)).toMatchObject({
      verdict,
      ...(verdict === 'allow' ? { reason: 'RECENT_MFA' } : {}),
    });
  });

  it('asks sensitive actions for a proof when the session has seen none', () => {
    expect(decide(policy, policyRequest({ sensitivity: 'sensitive' }))).toMatchObject({ verdict: 'challenge' });
  });

  it('asks critical actions for a proof each time, however fresh the last one is', () => {
    expect(decide(policy, policyRequest({ sensitivity: 'critical', mfaAt: 10_000_000 }))).toMatchObject({
      verdict: 'challenge',
      methods: ['totp'],
      acceptable: ['webauthn', 'totp', 'push'],
      ttlMs: 60_000,
      rule: 'policy.defaults.critical',
    });
  });

  it('reads an action without sensitivity as critical', () => {
    expect(decide(policy, policyRequest())).toMatchObject({ verdict: 'challenge', sensitivity: 'critical' });
  });
});

describe('methods', () => {
  it('names what the person has in the order of preference of the settings', () => {
    const request = policyRequest({ sensitivity: 'critical', enrolled: ['push', 'totp', 'webauthn'] });
    expect(decide(policy, request)).toMatchObject({ methods: ['webauthn', 'totp', 'push'] });
  });

  it.each([
    ['takes SMS from a person who has nothing else', {}, ['sms'], ['sms']],
    ['takes SMS from a person who has backup codes besides', {}, ['sms', 'backup_code'], ['sms']],
    ['refuses SMS from a person who has something stronger', {}, ['sms', 'totp'], ['totp']],
    ['refuses SMS where the setting is off', { smsForCritical: false }, ['sms'], []],
    ['refuses SMS in the nist profile', { profile: 'nist' as const }, ['sms'], []],
    ['refuses backup codes', {}, ['backup_code'], []],
    ['refuses backup codes in the nist profile', { profile: 'nist' as const }, ['backup_code', 'totp'], ['totp']],
    [
      'refuses what critical_methods leaves out',
      { criticalMethods: ['webauthn'] as const },
      ['totp', 'webauthn'],
      ['webauthn'],
    ],
    ['refuses what is switched off', { methods: ['totp'] as const }, ['push', 'totp'], ['totp']],
  ] as const)('on critical actions %s', (_name, changes, enrolled, methods) => {
    const request = policyRequest({ sensitivity: 'critical', enrolled });
    expect(decide(shippedPolicy(changes), request)).toMatchObject({ verdict: 'challenge', methods });
  });

  it.each([
    ['SMS', ['sms']],
    ['SMS beside backup codes', ['sms', 'backup_code']],
  ] as const)('on critical actions does not go down to %s because something stronger is frozen', (_, enrolled) => {
    const request = policyRequest({ sensitivity: 'critical', enrolled, held: ['totp', ...enrolled] });
    expect(decide(shippedPolicy(), request)).toMatchObject({ verdict: 'challenge', methods: [] });
  });

  it('does not take a backup code or SMS on critical actions because a rule names it', () => {
    const rules = [policyRule({ methods: ['backup_code', 'sms', 'totp'], require: 'mfa_once' })];
    const request = policyRequest({ sensitivity: 'critical', enrolled: ['backup_code', 'sms', 'totp'] });
    expect(decide(shippedPolicy({ rules }), request)).toMatchObject({ methods: ['totp'] });
  });

  it('refuses backup codes on critical actions even where critical_methods names them', () => {
    const request = policyRequest({ sensitivity: 'critical', enrolled: ['backup_code'] });
    const named = shippedPolicy({ criticalMethods: ['totp', 'backup_code'] });
    expect(decide(named, request)).toMatchObject({ verdict: 'challenge', methods: [], acceptable: ['totp', 'sms'] });
  });

  it('keeps backup codes for getting back in', () => {
    const enrolled = ['backup_code'] as const;
    const verdictFor = (purpose: 'action' | 'login' | 'factor_change' | 'step_up') =>
      decide(policy, policyRequest({ purpose, enrolled, sensitivity: 'sensitive' }));
    expect(verdictFor('login')).toMatchObject({ methods: ['backup_code'], ttlMs: 120_000 });
    expect(verdictFor('factor_change')).toMatchObject({ methods: [], ttlMs: 180_000 });
    expect(verdictFor('action')).toMatchObject({ methods: [] });
    expect(verdictFor('step_up')).toMatchObject({ methods: [] });
  });

  it.each([
    ['nothing that it names', ['totp'], 'challenge'],
    ['something else besides', ['webauthn', 'sms'], 'challenge'],
    ['nothing that is known', [], 'challenge'],
    ['what it names', ['webauthn'], 'allow'],
  ] as const)('counts a recent proof by %s as the rule that names methods says', (_, mfaBy, verdict) => {
    const rules = [policyRule({ methods: ['webauthn'], require: 'mfa_recent', maxAgeMs: 60_000 })];
    const request = policyRequest({ sensitivity: 'sensitive', now: 10_000_000, mfaAt: 9_990_000, mfaBy });
    expect(decide(shippedPolicy({ rules }), request).verdict).toBe(verdict);
  });

  it('counts no recent proof by a backup code or by SMS on critical actions, even where a rule is content with age', () => {
    const match = { sensitivity: ['critical'] } as const;
    const rules = [policyRule({ match, require: 'mfa_recent', maxAgeMs: 60_000 })];
    const verdictAfter = (...mfaBy: readonly Method[]) =>
      decide(
        shippedPolicy({ rules }),
        policyRequest({ sensitivity: 'critical', enrolled: ['totp'], now: 10_000_000, mfaAt: 9_990_000, mfaBy }),
      ).verdict;
    expect(verdictAfter('totp')).toBe('allow');
    expect(verdictAfter('backup_code')).toBe('challenge');
    expect(verdictAfter('sms')).toBe('challenge');
    expect(verdictAfter('backup_code', 'totp')).toBe('challenge');
  });

  it('narrows the methods to those that the rule names', () => {
    const rules = [policyRule({ methods: ['webauthn'] })];
    const decision = decide(shippedPolicy({ rules }), policyRequest({ sensitivity: 'critical' }));
    expect(decision).toMatchObject({ verdict: 'challenge', methods: [], acceptable: ['webauthn'] });
  });
});

describe('purposes', () => {
  it.each(['login', 'factor_change', 'step_up'] as const)(
    'takes a proof for %s even when the sensitivity is low',
    (purpose) => {
      expect(decide(policy, policyRequest({ purpose, sensitivity: 'low', mfaAt: 10_000_000 }))).toMatchObject({
        verdict: 'challenge',
        methods: expect.arrayContaining(['totp']),
      });
    },
  );

  it.each(['factor_change', 'step_up'] as const)('lets no rule do away with the proof for %s', (purpose) => {
    const rules = [policyRule({ require: 'none', match: { purpose: [purpose], sensitivity: ['low'] } })];
    expect(decide(shippedPolicy({ rules }), policyRequest({ purpose, sensitivity: 'low' }))).toMatchObject({
      verdict: 'challenge',
    });
  });

  it('lets a rule do away with the proof at login only when it names that purpose', () => {
    const request = policyRequest({ purpose: 'login', sensitivity: 'low' });
    const everywhere = shippedPolicy({ rules: [policyRule({ require: 'none' })] });
    const named = shippedPolicy({ rules: [policyRule({ require: 'none', match: { purpose: ['login'] } })] });
    expect(decide(everywhere, request)).toMatchObject({ verdict: 'challenge' });
    expect(decide(named, request)).toMatchObject({ verdict: 'allow', reason: 'NOT_REQUIRED' });
  });

  it('leaves a person without factors with nothing to answer by', () => {
    expect(decide(policy, policyRequest({ purpose: 'factor_change', enrolled: [] }))).toMatchObject({
      verdict: 'challenge',
      methods: [],
    });
  });
});

describe('rules', () => {
  it('lets the first match decide and says why the others did not', () => {
    const rules = [
      policyRule({ description: 'Reports', match: { resource: 'reports/**' }, require: 'deny' }, 0),
      policyRule(
        { description: 'Transfers', match: { action: 'transfer.*' }, sensitivity: 'critical', ttlMs: 30_000 },
        1,
      ),
      policyRule({ require: 'none' }, 2),
    ];
    const decision = decide(shippedPolicy({ rules }), policyRequest({ sensitivity: 'low' }));
    expect(decision).toMatchObject({
      verdict: 'challenge',
      rule: 'policy.rules[1]',
      sensitivity: 'critical',
      ttlMs: 30_000,
    });
    expect(decision.explanation.slice(0, 3)).toEqual([
      'policy.rules[0] (Reports) does not match: resource "accounts/42" is not reports/**',
      'policy.rules[1] (Transfers) matches',
      'sensitivity critical: the caller said low, policy.rules[1] raises it',
    ]);
  });

  it.each([
    ['realm', { realm: 'shop' }],
    ['resource', { resource: 'accounts/*/notes' }],
    ['action', { action: 'payment.*' }],
    ['host', { host: 'shop.example' }],
    ['path', { path: '/admin/**' }],
    ['method', { httpMethods: ['POST'] }],
    ['sensitivity', { sensitivity: ['low' as const] }],
    ['purpose', { purpose: ['login' as const] }],
  ])('does not match another or an absent %s', (_name, match) => {
    const rules = [policyRule({ match, require: 'deny' })];
    expect(decide(shippedPolicy({ rules }), policyRequest({ sensitivity: 'normal' }))).toMatchObject({
      verdict: 'allow',
    });
  });

  it('matches host without case and port, path without query, method without case', () => {
    const rules = [
      policyRule({ match: { host: '*.Example', path: '/admin/**', httpMethods: ['DELETE'] }, require: 'deny' }),
    ];
    const request = policyRequest({ host: 'SHOP.example:443', path: '//admin/users/?all=1', httpMethod: 'delete' });
    expect(decide(shippedPolicy({ rules }), request)).toMatchObject({ verdict: 'deny', rule: 'policy.rules[0]' });
  });

  it('cannot lower the sensitivity that the caller gives', () => {
    const rules = [policyRule({ sensitivity: 'low' })];
    expect(decide(shippedPolicy({ rules }), policyRequest({ sensitivity: 'critical' }))).toMatchObject({
      verdict: 'challenge',
      sensitivity: 'critical',
    });
  });

  it('gives the sensitivity where the caller does not', () => {
    const rules = [policyRule({ sensitivity: 'low', match: { path: '/public/**' } })];
    expect(decide(shippedPolicy({ rules }), policyRequest({ path: '/public/logo' }))).toMatchObject({
      verdict: 'allow',
      sensitivity: 'low',
    });
  });

  it('goes below the default of critical only when it names critical', () => {
    const request = policyRequest({ sensitivity: 'critical', mfaAt: 10_000_000 });
    const silent = shippedPolicy({ rules: [policyRule({ require: 'none' })] });
    const explicit = shippedPolicy({
      rules: [policyRule({ require: 'mfa_recent', maxAgeMs: 60_000, match: { sensitivity: ['critical'] } })],
    });
    expect(decide(silent, request)).toMatchObject({ verdict: 'challenge' });
    expect(decide(explicit, request)).toMatchObject({ verdict: 'allow', reason: 'RECENT_MFA' });
  });

  it('takes no older proof on critical actions than their default does, unless it names critical', () => {
    const { defaults } = shippedPolicy();
    const recent = { ...defaults, critical: { require: 'mfa_recent', maxAgeMs: 60_000 } } as const;
    const request = policyRequest({ sensitivity: 'critical', mfaAt: 10_000_000 - 60_000 });
    const rule = { require: 'mfa_recent', maxAgeMs: 3_600_000 } as const;
    const silent = shippedPolicy({ defaults: recent, rules: [policyRule(rule)] });
    const explicit = shippedPolicy({
      defaults: recent,
      rules: [policyRule({ ...rule, match: { sensitivity: ['critical'] } })],
    });
    expect(decide(silent, request)).toMatchObject({ verdict: 'challenge' });
    expect(decide(silent, { ...request, mfaAt: request.now - 59_999 })).toMatchObject({ reason: 'RECENT_MFA' });
    expect(decide(explicit, request)).toMatchObject({ verdict: 'allow', reason: 'RECENT_MFA' });
  });

  it('takes the age of the proof from the rule before the default', () => {
    const rules = [policyRule({ require: 'mfa_recent', maxAgeMs: 1_000 })];
    const request = policyRequest({ sensitivity: 'normal', mfaAt: 10_000_000 - 1_000 });
    expect(decide(shippedPolicy({ rules }), request)).toMatchObject({ verdict: 'challenge' });
  });

  it('denies a path or host that servers read in different ways, whatever the rules say', () => {
    const rules = [policyRule({ require: 'none', sensitivity: 'low', match: {} })];
    for (const target of [
      { path: '/public/../admin' },
      { path: '/public/%2e%2e/admin' },
      { host: 'a@b' },
      { path: '' },
    ]) {
      const decision = decide(
        shippedPolicy({ rules, mfaEnabled: false }),
        policyRequest({ ...target, sensitivity: 'low' }),
      );
      expect(decision).toMatchObject({ verdict: 'deny', sensitivity: 'critical' });
    }
  });
});

describe('MFA switched off', () => {
  const off = { mfaEnabled: false };

  it.each(['low', 'critical'] as const)('allows %s actions with the reason MFA_DISABLED', (sensitivity) => {
    expect(decide(shippedPolicy(off), policyRequest({ sensitivity }))).toMatchObject({
      verdict: 'allow',
      reason: 'MFA_DISABLED',
      rule: 'mfa.enabled',
      needsSession: sensitivity === 'critical',
    });
  });

  it('still guards the factors of a person who has some, for when it is on again', () => {
    const change = { purpose: 'factor_change', sensitivity: 'sensitive' } as const;
    expect(decide(shippedPolicy(off), policyRequest({ ...change, enrolled: ['totp'] }))).toMatchObject({
      verdict: 'challenge',
      methods: ['totp'],
    });
    expect(decide(shippedPolicy(off), policyRequest({ ...change, enrolled: [] }))).toMatchObject({ verdict: 'allow' });
  });

  it('guards factors that are frozen as well, so that nobody freezes them first to take them away', () => {
    const change = { purpose: 'factor_change', sensitivity: 'sensitive' } as const;
    const request = policyRequest({ ...change, enrolled: [], held: ['totp'] });
    expect(decide(shippedPolicy(off), request)).toMatchObject({ verdict: 'challenge', methods: [] });
  });

  it('still denies what a rule denies', () => {
    const rules = [policyRule({ require: 'deny' })];
    expect(decide(shippedPolicy({ ...off, rules }), policyRequest())).toMatchObject({ verdict: 'deny' });
  });
});
