import { describe, expect, it } from 'vitest';
import type { Factor } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { PolicyRule } from '#src/domain/policy.ts';
import { APP, challengeWorld, factorOf, openCommand, refOf } from '../../support/challenge-world.ts';

const ALL: readonly Method[] = ['totp', 'sms', 'push', 'webauthn', 'backup_code'];

function worldWith(factors: readonly Factor[], over: Parameters<typeof challengeWorld>[0] = {}) {
  const world = challengeWorld({ ...over, policy: { methods: ALL, ...over.policy } });
  world.factors.splice(0, world.factors.length, ...factors);
  return world;
}

const ruleFor = (...methods: readonly Method[]): PolicyRule => ({
  id: 'policy.rules[0]',
  description: '',
  match: {},
  methods,
});

describe('a person with something stronger', () => {
  it('is refused SMS for a critical action, with a reason that machines can read', async () => {
    const world = worldWith([factorOf('totp'), factorOf('sms')]);
    const asked = world.challenges.open(APP, openCommand({ method: 'sms' }));
    await expect(asked).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'METHOD_NOT_OFFERED',
      details: { metadata: { method: 'sms', rule: 'policy.defaults.critical' } },
    });
    const { challenge } = await world.challenges.open(APP, openCommand());
    expect(challenge.offers.map(({ method }) => method)).toEqual(['totp']);
    await expect(world.challenges.choose(APP, refOf(challenge), 'sms', '')).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
      details: { metadata: { offered: 'totp' } },
    });
    expect(world.methods.sms.prompts).toEqual([]);
  });

  it.each(['NOT_ME', 'CONSENT_WITHDRAWN'] as const)(
    'is refused SMS for a critical action also while that is frozen: %s',
    async (freezeReason) => {
      const world = worldWith([factorOf('push', { freezeReason }), factorOf('sms')]);
      await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({ reason: 'MFA_NOT_ENROLLED' });
    },
  );

  it('may use SMS for a critical action once nothing can reach the stronger one any more', async () => {
    const world = worldWith([factorOf('push', { freezeReason: 'ENDPOINT_GONE' }), factorOf('sms')]);
    const { challenge } = await world.challenges.open(APP, openCommand());
    expect(challenge.offers.map(({ method }) => method)).toEqual(['sms']);
  });
});

describe('where a security key is demanded', () => {
  const factors = ALL.map((method) => factorOf(method));

  it('a backup code, a code or a push proves nothing, and stays unspent', async () => {
    const world = worldWith(factors, { policy: { rules: [ruleFor('webauthn')] } });
    const { challenge } = await world.challenges.open(APP, openCommand());
    expect(challenge.offers.map(({ method }) => method)).toEqual(['webauthn']);
    const proof = { kind: 'backup_code', code: 'right-1' } as const;
    await expect(world.verification.answer(APP, { ...refOf(challenge), proof, requestId: '' })).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
    });
    expect(world.state.spentCodes.size).toBe(0);
    expect(world.checker.evaluated).toBe(0);
    for (const methods of [['totp'], ['webauthn', 'sms']] as const) {
      await expect(world.challenges.open(APP, openCommand({ methods }))).rejects.toMatchObject({
        reason: 'METHOD_NOT_OFFERED',
      });
    }
  });

  it('a recent proof by something else is none', async () => {
    const rule: PolicyRule = { ...ruleFor('webauthn'), require: 'mfa_recent', maxAgeMs: 60_000 };
    const world = worldWith(factors, { policy: { rules: [rule] } });
    const mfaAt = world.clock.now();
    const open = (token: string, amr: readonly string[]) => {
      world.sessions.give(token, { mfaAt, amr });
      return world.challenges.open(APP, openCommand({ sessionToken: token, sensitivity: 'sensitive' }));
    };
    expect((await open('by code', ['kba', 'mfa'])).challenge.state).toBe('PENDING');
    expect((await open('by both', ['hwk', 'user', 'mfa', 'otp'])).challenge.state).toBe('PENDING');
    expect((await open('by key', ['hwk', 'user', 'mfa'])).challenge).toMatchObject({ approvalReason: 'RECENT_MFA' });
  });
});

describe('the nist profile', () => {
  it('takes neither SMS nor backup codes for a critical action, whatever else the person lacks', async () => {
    const world = worldWith([factorOf('sms'), factorOf('backup_code')], { policy: { profile: 'nist' } });
    await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({
      reason: 'MFA_NOT_ENROLLED',
      details: { metadata: { methods: 'totp,push,webauthn' } },
    });
  });
});
