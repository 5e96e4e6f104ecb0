import { describe, expect, it } from 'vitest';
import { assuranceOf } from '#src/domain/challenge.ts';
import { APP, type ChallengeWorld, challengeWorld, openCommand } from '../../support/challenge-world.ts';

const REQUEST = '7f1b4d9e-0000-4000-8000-000000000001';

const login = (world: ChallengeWorld, over: Parameters<typeof openCommand>[0] = {}) =>
  world.challenges.open(
    APP,
    openCommand({ purpose: 'login', sensitivity: undefined, trustedDeviceToken: 'old', requestId: REQUEST, ...over }),
  );

function worldWithDevice(over: Parameters<typeof challengeWorld>[0] = {}) {
  const world = challengeWorld(over);
  world.devices.nextOf.set('ann old', 'new');
  return world;
}

describe('a login from a trusted device', () => {
  it('is approved at once on the lowest level, and hands out the next token', async () => {
    const world = worldWithDevice();
    const { challenge, receipt, trustedDeviceToken } = await login(world);
    expect(challenge).toMatchObject({ state: 'APPROVED', approvalReason: 'TRUSTED_DEVICE', offers: [] });
    expect(assuranceOf(challenge)).toEqual({ amr: [], acr: 'aal1' });
    expect(receipt).toBeDefined();
    expect(trustedDeviceToken).toBe('new');
    expect(world.eventsOf('challenge.bypassed')).toMatchObject([{ reason: 'TRUSTED_DEVICE', subject: 'ann' }]);
    expect(world.metrics.count('challengeEnded', 'none', 'APPROVED', 'TRUSTED_DEVICE')).toBe(1);
  });

  it('gets the same answer by its request id again, from any sidecar, and the device is asked once', async () => {
    const world = worldWithDevice();
    const first = await login(world);
    const command = openCommand({
      purpose: 'login',
      sensitivity: undefined,
      trustedDeviceToken: 'old',
      requestId: REQUEST,
    });
    const second = await world.sidecar().challenges.open(APP, command);
    expect(second.challenge.id).toBe(first.challenge.id);
    expect(second.trustedDeviceToken).toBe('new');
    expect(world.devices.asked).toHaveLength(1);
    await expect(login(world, { trustedDeviceToken: 'other' })).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    expect(world.devices.asked).toHaveLength(1);
  });

  it('gets one challenge and one token when it is sent many times at once', async () => {
    const world = worldWithDevice();
    const answers = await Promise.all(Array.from({ length: 10 }, () => login(world)));
    expect(new Set(answers.map(({ challenge }) => challenge.id)).size).toBe(1);
    expect(new Set(answers.map(({ trustedDeviceToken }) => trustedDeviceToken))).toEqual(new Set(['new']));
  });

  it('leaves the next token readable nowhere', async () => {
    const world = worldWithDevice();
    world.devices.nextOf.set('ann old', 'next-token-in-the-clear');
    await login(world);
    const seeds = [...world.state.requests.values()].map(({ claim }) => Buffer.from(claim.seed).toString());
    expect(seeds).toHaveLength(1);
    expect(JSON.stringify([seeds, world.events(), world.log.lines])).not.toContain('next-token');
  });

  it('asks for a proof as ever when the token is not good', async () => {
    const world = worldWithDevice();
    const { challenge, trustedDeviceToken } = await login(world, { trustedDeviceToken: 'forged' });
    expect(challenge).toMatchObject({ state: 'PENDING', offers: [{ method: 'totp' }, { method: 'backup_code' }] });
    expect(trustedDeviceToken).toBe('');
  });

  it.each([
    ['an action', { purpose: 'action', sensitivity: 'normal' }],
    ['a change of factors', { purpose: 'factor_change' }],
    ['a step-up', { purpose: 'step_up' }],
    ['a critical login', { sensitivity: 'critical' }],
  ] as const)('does not count for %s: a full challenge, an event, and the token stays as it is', async (_, over) => {
    const world = worldWithDevice({ policy: { defaults: alwaysProven() } });
    const { challenge } = await login(world, over);
    expect(challenge.state).toBe('PENDING');
    expect(world.devices.asked).toEqual([]);
    expect(world.eventsOf('device.refused')).toMatchObject([{ reason: 'POLICY', outcome: 'REFUSED', subject: 'ann' }]);
  });

  it('does not count where a rule names the methods that do', async () => {
    const rule = {
      id: 'policy.rules[0]',
      description: '',
      match: { purpose: ['login'] },
      methods: ['totp'],
    } as const;
    const world = worldWithDevice({ policy: { rules: [rule] } });
    expect((await login(world)).challenge.state).toBe('PENDING');
    expect(world.devices.asked).toEqual([]);
  });

  it('does not count for somebody who has nothing to prove it by', async () => {
    const world = worldWithDevice();
    world.factors.length = 0;
    await expect(login(world)).rejects.toMatchObject({ reason: 'MFA_NOT_ENROLLED' });
    expect(world.devices.asked).toEqual([]);
  });

  it('is not asked of the device where the policy asks for nothing', async () => {
    const world = worldWithDevice({ policy: { mfaEnabled: false } });
    expect((await login(world)).challenge.approvalReason).toBe('MFA_DISABLED');
    expect(world.devices.asked).toEqual([]);
  });
});

/** Every sensitivity asks for a proof. */
function alwaysProven() {
  const once = { require: 'mfa_once' } as const;
  return { low: once, normal: once, sensitive: once, critical: once };
}
