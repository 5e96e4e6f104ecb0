import { describe, expect, it } from 'vitest';
import { isDeviceToken } from '#src/domain/device-token.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import { DAY } from '#src/domain/time.ts';
import { deviceBinding } from '#src/domain/trusted-device.ts';
import type { NewSession } from '#src/services/sessions/session-creation.ts';
import { LAPTOP, LONDON, sessionWorld } from '../../support/session-world.ts';

const REQUEST_ID = '4b6f1c1e-6f0e-4a0c-9a53-0f5f2a9d8f10';

/** The device that the newest session would trust. */
function trustedIn({ store }: ReturnType<typeof sessionWorld>) {
  const last = store.devices.at(-1);
  return last?.kind === 'trust' ? last : undefined;
}

describe('a sign-in that asks to have the device remembered', () => {
  it('trusts it after a proof, for 30 days, by a token that is shown once and stored as a digest', async () => {
    const world = sessionWorld();
    const { trusted, session } = await world.signIn({ receipt: world.receipts.give(), rememberDevice: true });
    if (!trusted) throw new Error('nothing was remembered');
    expect(isDeviceToken(trusted.token)).toBe(true);
    expect(trusted.expiresAt).toBe(world.clock.now() + 30 * DAY);
    const { device, maxDevices } = trustedIn(world) ?? {};
    expect(maxDevices).toBe(10);
    expect(device).toMatchObject({
      realm: 'default',
      subject: 'ann',
      tokenDigest: tokenDigest(trusted.token),
      displayName: 'Firefox on Linux',
      expiresAt: trusted.expiresAt,
    });
    if (!device) throw new Error('no device');
    const connection = JSON.parse(
      Buffer.from(world.secrets.open(device.sealedConnection, deviceBinding(device))).toString(),
    );
    expect(connection).toEqual(session.device);
    expect(Buffer.from(device.sealedConnection).includes(LONDON)).toBe(false);
    expect(world.store.dump()).not.toContain(trusted.token);
    expect(world.store.events.find(({ type }) => type === 'device.trusted')).toMatchObject({
      subject: 'ann',
      outcome: 'SUCCESS',
      facts: { device_id: device.id },
    });
  });

  it('takes the name that the person gives', async () => {
    const world = sessionWorld();
    await world.signIn({ receipt: world.receipts.give(), rememberDevice: true, deviceName: 'Kitchen' });
    expect(trustedIn(world)?.device.displayName).toBe('Kitchen');
  });

  it('answers a repeated request with the same token', async () => {
    const world = sessionWorld();
    const asked: Partial<NewSession> = {
      receipt: world.receipts.give(),
      rememberDevice: true,
      requestId: REQUEST_ID,
    };
    const first = await world.signIn(asked);
    const again = await world.signIn(asked);
    expect(again.trusted).toEqual(first.trusted);
    expect(again.trusted).toBeDefined();
    expect(world.store.devices).toHaveLength(1);
  });

  it('counts the choice and the name as part of the request', async () => {
    const world = sessionWorld();
    const receipt = world.receipts.give();
    await world.signIn({ receipt, requestId: REQUEST_ID });
    for (const other of [{ rememberDevice: true }, { deviceName: 'Kitchen' }]) {
      await expect(world.signIn({ receipt, requestId: REQUEST_ID, ...other })).rejects.toMatchObject({
        reason: 'REQUEST_ID_REUSED',
      });
    }
  });

  it.each([
    ['without a receipt', undefined],
    ['approved since MFA is off', { approvalReason: 'MFA_DISABLED' }],
    ['approved since the device was trusted', { approvalReason: 'TRUSTED_DEVICE' }],
    ['approved since MFA was recent', { approvalReason: 'RECENT_MFA' }],
    ['approved since no proof was asked for', { approvalReason: 'NOT_REQUIRED' }],
  ])('makes no trust in one %s, and says so in the trail', async (_, claims) => {
    const world = sessionWorld();
    const receipt = claims ? world.receipts.giveUnproven(claims) : '';
    const { trusted } = await world.signIn({ receipt, rememberDevice: true });
    expect(trusted).toBeUndefined();
    expect(world.store.devices).toEqual([]);
    await world.trail.drain();
    expect(world.audit.events.at(-1)).toMatchObject({ type: 'device.refused', reason: 'NOT_PROVEN', subject: 'ann' });
  });

  it('makes no trust on a word that names a method but no proof', async () => {
    const world = sessionWorld();
    const receipt = world.receipts.give({ approvalReason: 'TRUSTED_DEVICE' });
    expect((await world.signIn({ receipt, rememberDevice: true })).trusted).toBeUndefined();
  });

  it('makes no trust while trusted devices are switched off', async () => {
    const world = sessionWorld({ trustedDevices: { enabled: false, lifeMs: DAY, maxDevices: 10 } });
    const { trusted } = await world.signIn({ receipt: world.receipts.give(), rememberDevice: true });
    expect(trusted).toBeUndefined();
    expect(world.store.devices).toEqual([]);
  });

  it('makes no trust by a receipt that was redeemed before', async () => {
    const world = sessionWorld();
    const receipt = world.receipts.give();
    await world.signIn({ receipt });
    await expect(world.signIn({ receipt, rememberDevice: true })).rejects.toMatchObject({ reason: 'RECEIPT_REDEEMED' });
    expect(world.store.devices).toEqual([]);
  });
});

describe('a sign-in by a backup code', () => {
  it.each([true, false])('forgets every device, and trusts none (asked to: %s)', async (rememberDevice) => {
    const world = sessionWorld();
    const receipt = world.receipts.give({ method: 'backup_code', amr: ['kba', 'mfa'] });
    expect((await world.signIn({ receipt, rememberDevice })).trusted).toBeUndefined();
    expect(world.store.devices).toMatchObject([{ kind: 'forget', events: [{ type: 'device.revoked' }] }]);
  });
});

it('remembers nothing unless asked to', async () => {
  const world = sessionWorld();
  const { trusted } = await world.signIn({ receipt: world.receipts.give(), client: LAPTOP });
  expect(trusted).toBeUndefined();
  expect(world.store.devices).toEqual([]);
});
