import { describe, expect, it } from 'vitest';
import { HOUR } from '#src/domain/time.ts';
import { personWorld, REALM } from '../../support/person-world.ts';
import { APPLICATION, LAPTOP } from '../../support/session-world.ts';

describe('trusted devices', () => {
  it('are listed most recently used first, with what they looked like and no token', async () => {
    const world = personWorld();
    const first = await world.signIn();
    world.clock.advance(HOUR);
    await world.signIn();
    world.clock.advance(HOUR);
    await world.rotate(first.deviceToken);
    const held = await world.devices.list(REALM, 'ann');
    expect(held).toMatchObject([
      { displayName: 'Firefox on Linux', device: { ipAddress: LAPTOP.ipAddress, browser: 'Firefox 145' } },
      { displayName: 'Firefox on Linux' },
    ]);
    expect(held[0]?.lastUsedAt).toBe(world.clock.now());
    expect(JSON.stringify(held)).not.toMatch(/spd_|digest/i);
    expect(await world.devices.list(REALM, 'bob')).toEqual([]);
    expect(await world.devices.list('shop', 'ann')).toEqual([]);
  });

  it('can be named by the person they belong to, and by nobody else', async () => {
    const world = personWorld();
    await world.signIn();
    const [device] = await world.devices.list(REALM, 'ann');
    const command = { realm: REALM, subject: 'ann', deviceId: device?.id ?? '', displayName: 'Kitchen' };
    expect(await world.devices.rename(APPLICATION, command)).toMatchObject({ id: device?.id, displayName: 'Kitchen' });
    expect(world.eventsOf('device.renamed')).toMatchObject([{ facts: { device_id: device?.id } }]);
    for (const other of [{ subject: 'bob' }, { realm: 'shop' }, { deviceId: 'dev_x' }]) {
      await expect(world.devices.rename(APPLICATION, { ...command, ...other })).rejects.toMatchObject({
        reason: 'DEVICE_NOT_FOUND',
      });
    }
    expect(world.eventsOf('device.renamed')).toHaveLength(1);
  });

  it('are forgotten one by one or all at once, as after a change of the password', async () => {
    const world = personWorld();
    const [one, two, three] = [await world.signIn(), await world.signIn(), await world.signIn()];
    const theirs = await world.signIn('bob');
    const [newest] = await world.devices.list(REALM, 'ann');
    const command = { realm: REALM, subject: 'ann', deviceId: newest?.id ?? '' };
    expect(await world.devices.revoke(APPLICATION, { ...command, subject: 'bob' })).toBe(0);
    expect(await world.devices.revoke(APPLICATION, command)).toBe(1);
    expect(await world.devices.revoke(APPLICATION, command)).toBe(0);
    expect(await world.devices.revoke(APPLICATION, { ...command, deviceId: '' })).toBe(2);
    for (const { deviceToken } of [one, two, three]) {
      expect(await world.show(deviceToken)).toEqual({ outcome: 'refused' });
    }
    expect(await world.show(theirs.deviceToken, { subject: 'bob' })).toMatchObject({ outcome: 'trusted' });
    expect(world.eventsOf('device.revoked').map(({ reason }) => reason)).toEqual(['REVOKED', 'REVOKED']);
  });
});
