import { describe, expect, it } from 'vitest';
import { newDeviceToken } from '#src/domain/device-token.ts';
import { DAY, HOUR, SECOND } from '#src/domain/time.ts';
import { DeviceLogins } from '#src/services/devices/device-logins.ts';
import { personWorld } from '../../support/person-world.ts';
import { APPLICATION, LAPTOP } from '../../support/session-world.ts';

const REFUSED = { outcome: 'refused' };

describe('the token of a trusted device', () => {
  it('is taken once, and another takes its place each time', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const seen = new Set([deviceToken]);
    let token = deviceToken;
    for (let login = 0; login < 5; login += 1) {
      world.clock.advance(DAY);
      token = await world.rotate(token);
      expect(seen.has(token)).toBe(false);
      seen.add(token);
    }
    expect(world.eventsOf('device.used')).toHaveLength(5);
    const [device] = await world.devices.list('default', 'ann');
    expect(world.eventsOf('device.used')[0]).toMatchObject({ subject: 'ann', facts: { device_id: device?.id } });
    expect(device?.lastUsedAt).toBe(world.clock.now());
  });

  it('gets the same successor again within the grace, since the answer may have been lost', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const answers = await Promise.all(Array.from({ length: 20 }, () => world.rotate(deviceToken)));
    expect(new Set(answers).size).toBe(1);
    world.clock.advance(29 * SECOND);
    expect(await world.rotate(deviceToken)).toBe(answers[0]);
    expect(await world.devices.list('default', 'ann')).toHaveLength(1);
  });

  it('leaves a newer token with the device when it comes late, but within the grace', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const second = await world.rotate(deviceToken);
    const third = await world.rotate(second);
    expect(await world.show(deviceToken)).toEqual({ outcome: 'trusted', nextToken: '' });
    world.clock.advance(HOUR);
    expect(await world.rotate(third)).not.toBe('');
  });

  it('kills the device and raises the alarm when it comes again after the grace', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const stolen = deviceToken;
    const honest = await world.rotate(deviceToken);
    world.clock.advance(30 * SECOND);
    expect(await world.show(stolen)).toEqual(REFUSED);
    expect(await world.show(honest)).toEqual(REFUSED);
    expect(await world.devices.list('default', 'ann')).toEqual([]);
    expect(world.eventsOf('device.token_reused')).toMatchObject([
      {
        subject: 'ann',
        outcome: 'REFUSED',
        reason: 'TOKEN_REUSED',
        facts: { device_id: expect.stringMatching(/^dev_/) },
      },
    ]);
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    const waiting = await world.stores.notices.lease(world.clock.now(), SECOND, 10);
    expect(waiting.map(({ type }) => type)).toContain('device.token_reused');
  });

  it('kills it whoever comes first, the thief or the person', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const thief = await world.rotate(deviceToken);
    world.clock.advance(HOUR);
    expect(await world.show(deviceToken)).toEqual(REFUSED);
    expect(await world.show(thief)).toEqual(REFUSED);
  });

  it('knows a copy however long ago it was rotated out', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    let token = deviceToken;
    for (let day = 0; day < 20; day += 1) {
      world.clock.advance(DAY);
      token = await world.rotate(token);
    }
    expect(await world.show(deviceToken)).toEqual(REFUSED);
    expect(await world.show(token)).toEqual(REFUSED);
  });

  it('has no grace where the settings give none', async () => {
    const world = personWorld({ graceMs: 0 });
    const { deviceToken } = await world.signIn();
    await world.rotate(deviceToken);
    expect(await world.show(deviceToken)).toEqual(REFUSED);
  });

  it('is good for 30 days to the instant, however it is used, and whatever the browser keeps', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    world.clock.advance(29 * DAY);
    const token = await world.rotate(deviceToken);
    world.clock.advance(DAY - 1);
    const last = await world.rotate(token);
    world.clock.advance(1);
    expect(await world.show(last)).toEqual(REFUSED);
    await world.trail.drain();
    expect(world.eventsOf('device.refused')).toMatchObject([{ subject: 'ann', reason: 'TOKEN_INVALID' }]);
  });

  it.each([
    ['of another person', { subject: 'bob' }],
    ['of another realm', { realm: 'shop' }],
  ])('is nothing in the hands %s, and stays good where it belongs', async (_, elsewhere) => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    expect(await world.show(deviceToken, elsewhere)).toEqual(REFUSED);
    await world.trail.drain();
    expect(world.eventsOf('device.refused')).toMatchObject([
      { outcome: 'REFUSED', reason: 'TOKEN_INVALID', ...elsewhere },
    ]);
    expect(await world.show(deviceToken)).toMatchObject({ outcome: 'trusted' });
  });

  it('is refused when it was edited, invented, or is the token of a session', async () => {
    const world = personWorld();
    const { deviceToken, token } = await world.signIn();
    const invented = newDeviceToken(new Uint8Array(32).fill(9));
    for (const other of ['', 'spd_', `${deviceToken}x`, deviceToken.toLowerCase(), invented, token]) {
      expect(await world.show(other)).toEqual(REFUSED);
    }
    expect(await world.show(deviceToken)).toMatchObject({ outcome: 'trusted' });
  });

  it.each([
    ['a step-up', { purpose: 'step_up' }],
    ['an action', { purpose: 'action' }],
    ['a change of factors', { purpose: 'factor_change' }],
    ['a critical login', { sensitivity: 'critical' }],
  ] as const)('is never enough for %s, and is not used up by it', async (_, asked) => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    expect(await world.show(deviceToken, asked)).toEqual(REFUSED);
    await world.trail.drain();
    expect(world.eventsOf('device.refused')).toHaveLength(1);
    expect(world.eventsOf('device.used')).toEqual([]);
    expect(await world.show(deviceToken)).toMatchObject({ outcome: 'trusted' });
  });

  it('is ignored while trusted devices are switched off, and is good once they are on again', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const off = new DeviceLogins({ ...world, devices: world.stores.devices, enabled: false, graceMs: 30 * SECOND });
    const login = { realm: 'default', subject: 'ann', purpose: 'login', sensitivity: 'sensitive' } as const;
    expect(await off.use(APPLICATION, { ...login, token: deviceToken, client: LAPTOP })).toEqual(REFUSED);
    await world.trail.drain();
    expect(world.eventsOf('device.refused').map(({ reason }) => reason)).toEqual(['DISABLED']);
    expect(await world.show(deviceToken)).toMatchObject({ outcome: 'trusted' });
  });

  it('is not looked up when it has not the form of one', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    world.stores.devices.use = () => Promise.reject(new Error('the store was asked'));
    expect(await world.show(`${deviceToken}x`)).toEqual(REFUSED);
  });

  it('is in no log, event or notice', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    const next = await world.rotate(deviceToken);
    world.clock.advance(HOUR);
    await world.show(deviceToken);
    await world.trail.drain();
    const notices = await world.stores.notices.lease(world.clock.now(), SECOND, 100);
    const everything = JSON.stringify([world.audit.events, world.log.lines, notices]);
    for (const token of [deviceToken, next]) expect(everything).not.toContain(token.slice(4, 20));
  });
});

describe('trusted devices of a person', () => {
  it('are bounded: the least recently used one is forgotten', async () => {
    const world = personWorld();
    const tokens: string[] = [];
    for (let device = 0; device < 3; device += 1) {
      tokens.push((await world.signIn()).deviceToken);
      world.clock.advance(HOUR);
    }
    const [first = '', second = '', third = ''] = tokens;
    const kept = await world.rotate(first);
    world.clock.advance(HOUR);
    await world.signIn();
    expect(await world.devices.list('default', 'ann')).toHaveLength(3);
    expect(await world.show(second)).toEqual(REFUSED);
    for (const token of [kept, third]) expect(await world.show(token)).toMatchObject({ outcome: 'trusted' });
  });

  it('are forgotten by a sign-in with a backup code, which makes no trust itself', async () => {
    const world = personWorld();
    const { deviceToken } = await world.signIn();
    expect((await world.signIn('ann', { method: 'backup_code' })).deviceToken).toBe('');
    expect(await world.show(deviceToken)).toEqual(REFUSED);
    expect(world.eventsOf('device.revoked')).toMatchObject([
      { reason: 'FACTOR_CHANGE', facts: { with: 'backup_code' } },
    ]);
  });
});
