import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { NO_CLIENT } from '#src/domain/caller.ts';
import { MINUTE } from '#src/domain/time.ts';
import { APP, bytesOf, PushWorld, REALM, ticketOf, VISIT } from '../../support/push-world.ts';
import { SoftwarePushDevice } from '../../support/software-push-device.ts';

const made = (ticket: string, device: SoftwarePushDevice) => ({
  ticket,
  subscriptionJson: device.subscriptionJson,
  devicePublicKey: device.publicKey,
});

describe('an enrolment with what the application hands in', () => {
  it('answers the bytes that the device signs, and takes the signature', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const { factor, material } = await world.begin('ann', device);
    const bytes = bytesOf(material);
    expect(bytes).toEqual(device.enrollmentBytes(factor.id, REALM, 'ann'));
    const confirmed = await world.confirm(factor, device.sign(bytes));
    expect(confirmed.factor).toMatchObject({ id: factor.id, method: 'push', state: 'ACTIVE' });
    expect(confirmed.backupCodes).toHaveLength(10);
    expect(await world.failures('ann')).toBe(0);
  });

  it('takes no signature of another key, for another factor, person or purpose, and no attempt of the person either', async () => {
    const world = new PushWorld();
    const [device, other] = [new SoftwarePushDevice(), new SoftwarePushDevice()];
    const { factor, material } = await world.begin('ann', device);
    const second = await world.begin('bob', other);
    for (const signature of [
      other.sign(bytesOf(material)),
      device.sign(bytesOf(second.material)),
      device.sign(device.enrollmentBytes(factor.id, REALM, 'bob')),
      device.sign(device.enrollmentBytes(factor.id, 'bank', 'ann')),
      device.look({ realm: REALM, factorId: factor.id, challengeId: '' }, 0).signature,
      new Uint8Array(64),
      new Uint8Array(),
    ])
      await expect(world.confirm(factor, signature)).rejects.toMatchObject({
        reason: 'PROOF_REFUSED',
        details: { metadata: { field: 'push_signature' } },
      });
    await expect(world.confirm(factor, device.sign(bytesOf(material)), 'bob')).rejects.toMatchObject({
      reason: 'FACTOR_NOT_FOUND',
    });
    expect((await world.factor(factor.id)).state).toBe('PENDING');
    expect(await world.failures('ann')).toBe(0);
  });

  const key = (curve: string) =>
    new Uint8Array(generateKeyPairSync('ec', { namedCurve: curve }).publicKey.export({ format: 'der', type: 'spki' }));
  const device = new SoftwarePushDevice();
  it.each([
    ['a subscription alone', { devicePublicKey: new Uint8Array() }, 'device_public_key'],
    ['a key alone', { pushSubscriptionJson: '' }, 'push_subscription_json'],
    ['a key on P-384', { devicePublicKey: key('P-384') }, 'device_public_key'],
    ['no JSON', { pushSubscriptionJson: '{' }, 'push_subscription_json'],
    [
      'an endpoint elsewhere',
      { pushSubscriptionJson: device.subscriptionJson.replace('push.example.com', 'evil.example.com') },
      'push_subscription_json',
    ],
    [
      'an endpoint inside',
      { pushSubscriptionJson: device.subscriptionJson.replace('push.example.com', '127.0.0.1') },
      'push_subscription_json',
    ],
  ])('takes no %s', async (_, over, field) => {
    const world = new PushWorld();
    const failed = await world.begin('ann', device, over).catch((error: unknown) => error);
    expect(failed).toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID', details: { metadata: { field } } });
    expect(JSON.stringify(failed)).not.toContain(device.auth);
    expect(JSON.stringify(failed)).not.toContain('/send/');
  });

  it('takes no browser that somebody has enrolled already, not even of two that come at once', async () => {
    const world = new PushWorld();
    const browser = new SoftwarePushDevice();
    const begun = await Promise.all(['ann', 'bob', 'cid'].map((subject) => world.begin(subject, browser)));
    const results = await Promise.allSettled(
      begun.map(({ factor, material }) => world.confirm(factor, browser.sign(bytesOf(material)))),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ reason: 'FACTOR_EXISTS' });
  });

  it("takes another person's public key from nobody who cannot sign with it", async () => {
    const world = new PushWorld();
    const victim = await world.enroll('ann');
    const mine = new SoftwarePushDevice();
    const { factor, material } = await world.begin('eve', mine, { devicePublicKey: victim.device.publicKey });
    await expect(world.confirm(factor, mine.sign(bytesOf(material)))).rejects.toMatchObject({
      reason: 'PROOF_REFUSED',
    });
  });
});

describe('an enrolment by a link', () => {
  it('is finished by the browser: what it made is looked at, signed for, and in use', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const { factor, material } = await world.begin('ann', undefined);
    expect(material).toMatchObject({
      kind: 'push_link',
      url: expect.stringMatching(/^https:\/\/id\.example\.com\/push\/enroll#/),
    });
    const ticket = ticketOf(material);
    const devices = world.sidecar.devices;
    const shown = await devices.enroll(VISIT, made(ticket, device));
    expect(shown).toEqual({
      factorId: factor.id,
      realm: REALM,
      subject: 'ann',
      displayName: 'Browser',
      challenge: device.enrollmentBytes(factor.id, REALM, 'ann'),
    });
    expect((await world.factor(factor.id)).state).toBe('PENDING');
    const signature = device.sign(shown.challenge);
    const confirmed = await devices.confirm(VISIT, { ...made(ticket, device), signature });
    expect(confirmed).toEqual({ displayName: 'Browser', backupCodes: expect.any(Array) });
    expect(confirmed.backupCodes).toHaveLength(10);
    const enrolled = { subject: 'ann', factor: await world.factor(factor.id), device };
    const { challenge, number, at } = await world.prompted(enrolled);
    expect(await devices.answer(VISIT, device.reply(at, challenge, 'approve', number))).toBe('approved');
  });

  it('works once, even of ten browsers that come at once to two sidecars', async () => {
    const world = new PushWorld();
    const { factor, material } = await world.begin('ann', undefined);
    const ticket = ticketOf(material);
    const sidecars = [world.sidecar, world.another()];
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, async (_, index) => {
        const device = new SoftwarePushDevice();
        const signature = device.sign(device.enrollmentBytes(factor.id, REALM, 'ann'));
        await sidecars[index % 2]?.devices.confirm(VISIT, { ...made(ticket, device), signature });
        return device.endpoint;
      }),
    );
    const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(done).toHaveLength(1);
    expect(world.eventsOf('factor.enrolled')).toHaveLength(1);
    const enrolled = { subject: 'ann', factor: await world.factor(factor.id), device: new SoftwarePushDevice() };
    await world.prompted(enrolled);
    expect(world.sender.sent[0]?.subscription.endpoint).toBe(done[0]);
    await expect(world.sidecar.devices.enroll(VISIT, made(ticket, new SoftwarePushDevice()))).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'ENROLLMENT_EXPIRED',
    });
  });

  it('is dead once it is over, another was begun, or the factor is gone', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const first = ticketOf((await world.begin('ann', undefined)).material);
    const second = ticketOf((await world.begin('ann', undefined)).material);
    const dead = { reason: 'ENROLLMENT_EXPIRED' };
    await expect(world.sidecar.devices.enroll(VISIT, made(first, device))).rejects.toMatchObject(dead);
    await world.sidecar.devices.enroll(VISIT, made(second, device));
    world.clock.advance(10 * MINUTE);
    await expect(world.sidecar.devices.enroll(VISIT, made(second, device))).rejects.toMatchObject(dead);
  });

  it('opens nothing when any part of it is another, and says always the same', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const ticket = ticketOf((await world.begin('ann', undefined)).material);
    const other = ticketOf((await world.begin('bob', undefined)).material);
    const [realm = '', id = '', seal = ''] = ticket.split('.');
    const [, otherId = '', otherSeal = ''] = other.split('.');
    const bank = Buffer.from('bank').toString('base64url');
    const flipped = `${seal.startsWith('A') ? 'B' : 'A'}${seal.slice(1)}`;
    for (const bent of [
      '',
      'x',
      `${realm}.${id}`,
      `${realm}.${id}.`,
      `${realm}.${id}.${flipped}`,
      `${realm}.${otherId}.${seal}`,
      `${realm}.${id}.${otherSeal}`,
      `${bank}.${id}.${seal}`,
      `${ticket}=`,
      `${ticket}.x`,
      ticket.toUpperCase(),
    ])
      await expect(world.sidecar.devices.enroll(VISIT, made(bent, device))).rejects.toMatchObject({
        reason: 'ENROLLMENT_EXPIRED',
        message: 'the link was used, or its time is up; ask for another',
      });
  });

  it('opens nothing on a sidecar that does not serve the realm, nor for a factor that was begun without one', async () => {
    const world = new PushWorld();
    const { factor, material } = await world.begin('ann', undefined);
    const { tickets } = world.sidecar;
    expect(await tickets.open(ticketOf(material))).toMatchObject({ id: factor.id });
    const dead = { reason: 'ENROLLMENT_EXPIRED' };
    await expect(world.another(['bank']).tickets.open(ticketOf(material))).rejects.toMatchObject(dead);
    const handed = await world.begin('bob', new SoftwarePushDevice());
    await expect(tickets.open(tickets.make(handed.factor))).rejects.toMatchObject(dead);
    const { factor: enrolled } = await world.enroll('cid');
    await expect(tickets.open(tickets.make(enrolled))).rejects.toMatchObject(dead);
  });

  it('binds what was looked at: other subscription, key or person in the confirmation are refused, and the link stays good', async () => {
    const world = new PushWorld();
    const [device, other] = [new SoftwarePushDevice(), new SoftwarePushDevice()];
    const { factor, material } = await world.begin('ann', undefined);
    const ticket = ticketOf(material);
    const devices = world.sidecar.devices;
    const good = { ...made(ticket, device), signature: device.sign(device.enrollmentBytes(factor.id, REALM, 'ann')) };
    for (const bent of [
      { ...good, subscriptionJson: other.subscriptionJson },
      { ...good, devicePublicKey: other.publicKey },
      { ...good, signature: device.sign(device.enrollmentBytes(factor.id, REALM, 'bob')) },
      { ...good, signature: new Uint8Array(64) },
    ])
      await expect(devices.confirm(VISIT, bent)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    const elsewhere = { ...good, subscriptionJson: device.subscriptionJson.replace('push.example.com', '10.0.0.1') };
    await expect(devices.confirm(VISIT, elsewhere)).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    await devices.confirm(VISIT, good);
  });

  it('is not finished by ConfirmEnrollment, nor the other way by a link', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const linked = await world.begin('ann', undefined);
    const signature = device.sign(device.enrollmentBytes(linked.factor.id, REALM, 'ann'));
    await expect(world.confirm(linked.factor, signature)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    const handed = await world.begin('bob', device);
    const proof = {
      kind: 'push',
      signature: device.sign(device.enrollmentBytes(handed.factor.id, REALM, 'bob')),
      made: { subscriptionJson: device.subscriptionJson, devicePublicKey: device.publicKey },
    } as const;
    const command = {
      realm: REALM,
      subject: 'bob',
      factorId: handed.factor.id,
      proof,
      client: NO_CLIENT,
      requestId: '',
    };
    await expect(world.sidecar.confirmation.confirm(APP, command)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
  });

  it('leaves no ticket in log or trail', async () => {
    const world = new PushWorld();
    const device = new SoftwarePushDevice();
    const { factor, material } = await world.begin('ann', undefined);
    const ticket = ticketOf(material);
    const signature = device.sign(device.enrollmentBytes(factor.id, REALM, 'ann'));
    await world.sidecar.devices.confirm(VISIT, { ...made(ticket, device), signature });
    await expect(world.sidecar.devices.enroll(VISIT, made(ticket, device))).rejects.toThrow();
    await world.trail.drain();
    const told = JSON.stringify([world.log.lines, world.audit.events]);
    expect(told).not.toContain(ticket.split('.')[2]);
    expect(told).not.toContain(device.endpoint);
  });
});
