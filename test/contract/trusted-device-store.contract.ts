import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { TrustedDevice } from '#src/domain/trusted-device.ts';
import type { UseDevice } from '#src/ports/trusted-device-store.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  createOf,
  deviceOf,
  digest,
  eventOf,
  person,
  REALM,
  sessionOf,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeTrustedDeviceStore(name: string, make: MakeStores): void {
  describe(`TrustedDeviceStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const trust = async (fields: Partial<TrustedDevice> = {}, maxDevices = 10) => {
      const device = deviceOf(fields);
      const events = [eventOf('device.trusted', { subject: device.subject })];
      await stores.devices.trust({ device, maxDevices, now: device.createdAt, events });
      return device;
    };
    const use = ({ realm, subject }: TrustedDevice, tokenDigest: string, fields: Partial<UseDevice> = {}) =>
      stores.devices.use({
        realm,
        subject,
        tokenDigest,
        nextDigest: digest(),
        graceMs: 30 * SECOND,
        now: T0 + 1_000,
        events: [eventOf('device.used', { subject })],
        reusedEvents: [eventOf('device.token_reused', { subject })],
        ...fields,
      });
    const list = (subject: string, now = T0) => stores.devices.list(REALM, subject, now);
    const idsOf = async (subject: string, now = T0) => (await list(subject, now)).map(({ id }) => id);

    it('keeps devices over a restart and lists live ones, the most recently used first', async () => {
      const subject = person();
      const first = await trust({ subject });
      const second = await trust({ subject, lastUsedAt: T0 + 5, createdAt: T0 + 5, expiresAt: T0 + MINUTE });
      stores = await stores.restart();
      expect(await list(subject)).toEqual([second, first]);
      expect(await list(subject, second.expiresAt)).toEqual([first]);
      expect(await stores.devices.list('other', subject, T0)).toEqual([]);
    });

    it('forgets the least recently used beyond the most that one may have, also at once', async () => {
      const subject = person();
      const devices: TrustedDevice[] = [];
      for (let at = 0; at < 3; at += 1) devices.push(await trust({ subject, lastUsedAt: T0 + at }, 3));
      const newest = await trust({ subject, lastUsedAt: T0 + 9 }, 3);
      expect(await idsOf(subject)).toEqual([newest.id, devices[2]?.id, devices[1]?.id]);
      await atOnce(20, () => trust({ subject }, 3));
      expect(await list(subject)).toHaveLength(3);
    });

    it('rotates the token with each use', async () => {
      const device = await trust();
      const [one, two] = [digest(), digest()];
      const rotated = await use(device, device.tokenDigest, { nextDigest: one });
      const expected = { ...device, tokenDigest: one, lastUsedAt: T0 + 1_000 };
      expect(rotated).toEqual({ outcome: 'rotated', device: expected });
      expect(await list(device.subject)).toEqual([expected]);
      expect(await use(device, one, { nextDigest: two })).toMatchObject({ outcome: 'rotated' });
      expect((await trailOf(stores, device.subject)).slice(1)).toEqual(['device.used', 'device.used']);
    });

    it('rotates once when one token comes 30 times at the same time; the others are in grace', async () => {
      const device = await trust();
      const outcomes = await atOnce(30, () => use(device, device.tokenDigest));
      expect(tally(outcomes)).toEqual({ rotated: 1, in_grace: 29 });
      const tokens = new Set(outcomes.map((used) => ('device' in used ? used.device.tokenDigest : '')));
      expect(tokens.size).toBe(1);
      expect((await list(device.subject)).map(({ tokenDigest }) => tokenDigest)).toEqual([...tokens]);
    });

    it('ends the device when a token comes again after the grace, whoever has the right one', async () => {
      const device = await trust();
      const next = digest();
      await use(device, device.tokenDigest, { nextDigest: next });
      const now = T0 + 1_000 + 30 * SECOND;
      expect(await use(device, device.tokenDigest, { now: now - 1 })).toMatchObject({ outcome: 'in_grace' });
      const outcomes = await atOnce(10, () => use(device, device.tokenDigest, { now }));
      expect(tally(outcomes)).toEqual({ reused: 1, unknown: 9 });
      expect(await use(device, next, { now })).toEqual({ outcome: 'unknown' });
      expect(await list(device.subject)).toEqual([]);
      const types = await trailOf(stores, device.subject);
      expect(types.filter((type) => type === 'device.token_reused')).toHaveLength(1);
    });

    it('gives no grace at all when it is 0, nor a longer one when the clock was set back', async () => {
      const strict = await trust();
      await use(strict, strict.tokenDigest);
      expect(await use(strict, strict.tokenDigest, { graceMs: 0 })).toMatchObject({ outcome: 'reused' });
      const device = await trust();
      await use(device, device.tokenDigest);
      expect(await use(device, device.tokenDigest, { now: T0 - MINUTE })).toMatchObject({ outcome: 'reused' });
    });

    it('knows no token of another person or realm, of a device whose time is up or that was revoked', async () => {
      const device = await trust({ expiresAt: T0 + MINUTE });
      const unknown = { outcome: 'unknown' };
      expect(await use({ ...device, subject: person() }, device.tokenDigest)).toEqual(unknown);
      expect(await use({ ...device, realm: 'other' }, device.tokenDigest)).toEqual(unknown);
      expect(await use(device, digest())).toEqual(unknown);
      expect(await use(device, device.tokenDigest, { now: device.expiresAt })).toEqual(unknown);
      expect(await use(device, device.tokenDigest)).toMatchObject({ outcome: 'rotated' });
      expect(await use({ ...device, subject: person() }, device.tokenDigest)).toEqual(unknown);
      expect(await idsOf(device.subject)).toEqual([device.id]);
    });

    it('renames a live device of the person', async () => {
      const device = await trust();
      const rename = (fields = {}) =>
        stores.devices.rename({
          realm: REALM,
          subject: device.subject,
          deviceId: device.id,
          displayName: 'kitchen',
          now: T0,
          events: [eventOf('device.renamed', { subject: device.subject })],
          ...fields,
        });
      expect(await rename({ subject: person() })).toBeUndefined();
      expect(await rename({ now: device.expiresAt })).toBeUndefined();
      expect(await rename()).toEqual({ ...device, displayName: 'kitchen' });
      expect((await trailOf(stores, device.subject)).filter((type) => type === 'device.renamed')).toHaveLength(1);
    });

    it('revokes one or all of the person, once', async () => {
      const subject = person();
      const [one, two, three] = [await trust({ subject }), await trust({ subject }), await trust({ subject })];
      const other = await trust();
      const revoke = (deviceId: string, of = subject) =>
        stores.devices.revoke({
          realm: REALM,
          subject: of,
          deviceId,
          reason: 'REVOKED',
          now: T0 + 1,
          events: [eventOf('device.revoked', { subject })],
        });
      expect(await revoke(other.id)).toBe(0);
      expect(await revoke(one.id, person())).toBe(0);
      const counts = await atOnce(10, () => revoke(one.id));
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1);
      expect((await idsOf(subject)).toSorted()).toEqual([two.id, three.id].toSorted());
      expect(await revoke('')).toBe(2);
      expect(await idsOf(subject)).toEqual([]);
      expect(await idsOf(other.subject)).toEqual([other.id]);
      expect((await trailOf(stores, subject)).filter((type) => type === 'device.revoked')).toHaveLength(2);
    });

    it('trusts or forgets devices in the step that makes a session, and not when that is refused', async () => {
      const subject = person();
      const device = deviceOf({ subject });
      const trusting = {
        kind: 'trust' as const,
        device,
        maxDevices: 5,
        events: [eventOf('device.trusted', { subject })],
      };
      const refused = createOf(sessionOf({ subject }), { endSessionIds: ['ses_x'], devices: trusting });
      expect((await stores.sessions.create(refused)).outcome).toBe('unknown_session');
      expect(await list(subject)).toEqual([]);
      await stores.sessions.create(createOf(sessionOf({ subject }), { devices: trusting }));
      expect(await list(subject)).toEqual([device]);
      const forget = { kind: 'forget' as const, events: [eventOf('device.revoked', { subject })] };
      await stores.sessions.create(createOf(sessionOf({ subject }), { devices: forget }));
      await stores.sessions.create(
        createOf(sessionOf({ subject }), { devices: { ...forget, events: [eventOf('device.revoked', { subject })] } }),
      );
      expect(await list(subject)).toEqual([]);
      const types = await trailOf(stores, subject);
      expect(types.filter((type) => type.startsWith('device.'))).toEqual(['device.trusted', 'device.revoked']);
    });

    it('collects what is over with the tokens of it, and nothing else', async () => {
      const old = await trust({ expiresAt: T0 - 90 * MINUTE });
      const revoked = await trust();
      const live = await trust();
      await use(live, live.tokenDigest);
      const { subject, id: deviceId } = revoked;
      await stores.devices.revoke({
        realm: REALM,
        subject,
        deviceId,
        reason: 'REVOKED',
        now: T0 - 90 * MINUTE,
        events: [],
      });
      expect(await stores.devices.purge(T0 - 80 * MINUTE, 1_000)).toBe(2);
      expect(await list(old.subject, T0 - 99 * MINUTE)).toEqual([]);
      expect(await idsOf(live.subject)).toEqual([live.id]);
      const late = { now: T0 + MINUTE };
      expect(await use(live, live.tokenDigest, late)).toMatchObject({ outcome: 'reused' });
    });
  });
}
