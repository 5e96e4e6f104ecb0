import { describe, expect, it } from 'vitest';
import { isUsable } from '#src/domain/method-offer.ts';
import { SECOND } from '#src/domain/time.ts';
import type { PushResult } from '#src/ports/senders.ts';
import { settle } from '../../support/clock.ts';
import { PushWorld, REALM, VISIT } from '../../support/push-world.ts';

const down: PushResult = { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined };
const busy = (afterMs: number): PushResult => ({ outcome: 'retry', reason: 'RATE_LIMITED', afterMs });
const unanswered: PushResult = { outcome: 'unknown', reason: 'NO_ANSWER' };

/** A world in which the next notification meets this. */
async function meeting(...script: readonly (PushResult | 'hang')[]) {
  const world = new PushWorld();
  const ann = await world.enroll('ann');
  world.sender.script.push(...script);
  return { world, ann, ...(await world.prompted(ann)) };
}

describe('a push service', () => {
  it('that is down for a while is asked again, and the notification goes out within the challenge', async () => {
    const { world, challenge } = await meeting(down, down);
    expect((await world.deliveryOf(challenge))?.status).toBe('QUEUED');
    await world.clock.advanceSlowly(5 * SECOND, 100);
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'SENT', reason: '', resendable: true });
    expect(world.sender.sent).toHaveLength(3);
    const left = world.sender.sent.map(({ ttlMs }) => ttlMs);
    expect(left[2]).toBeLessThan(left[0] ?? 0);
    expect(world.metrics.count('push', 'retry', 'PROVIDER_DOWN')).toBe(2);
    expect(world.metrics.count('push', 'accepted', '')).toBe(1);
  });

  it('that stays down is given up after five tries, and it is said plainly', async () => {
    const { world, challenge } = await meeting(down, down, down, down, down, down);
    await world.clock.advanceSlowly(40 * SECOND, 200);
    expect(world.sender.sent).toHaveLength(5);
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'FAILED', reason: 'PROVIDER_DOWN', resendable: true });
    expect(world.eventsOf('challenge.delivery_failed').at(-1)).toMatchObject({ reason: 'PROVIDER_DOWN' });
  });

  it.each([
    ['is down', down],
    ['is busy', busy(3 * SECOND)],
    ['says nothing', 'hang'],
  ] as const)('that %s has another method offered within two seconds', async (_, trouble) => {
    const { world, challenge } = await meeting(trouble, trouble, trouble, trouble, trouble);
    await world.clock.advanceSlowly(1_900, 100);
    expect((await world.deliveryOf(challenge))?.status).toBe('UNKNOWN');
  });

  it('that says nothing for long and takes it then has it noted as sent after all', async () => {
    const { world, challenge } = await meeting('hang');
    await world.clock.advanceSlowly(3 * SECOND, 100);
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'UNKNOWN', reason: 'SLOW', resendable: true });
    world.sender.hanging.shift()?.({ outcome: 'accepted', providerId: '' });
    await settle();
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'SENT', reason: '', resendable: true });
  });

  it('that did not answer may have taken it: it is sent again, and takes the place of the first', async () => {
    const { world, challenge } = await meeting(unanswered);
    await world.clock.advanceSlowly(3 * SECOND, 100);
    expect(world.sender.sent).toHaveLength(2);
    expect(world.sender.sent[0]?.topic).toBe(world.sender.sent[1]?.topic);
    expect((await world.deliveryOf(challenge))?.status).toBe('SENT');
  });

  it('that never answers leaves it unknown, since the person may have it', async () => {
    const { world, challenge } = await meeting(unanswered, unanswered, unanswered, unanswered, unanswered);
    await world.clock.advanceSlowly(40 * SECOND, 200);
    expect((await world.deliveryOf(challenge))?.status).toBe('UNKNOWN');
  });

  it('that asks for time gets it, and not a moment less', async () => {
    const { world, challenge } = await meeting(busy(20 * SECOND));
    await world.clock.advanceSlowly(19_900, 100);
    expect(world.sender.sent).toHaveLength(1);
    await world.clock.advanceSlowly(2 * SECOND, 100);
    expect(world.sender.sent).toHaveLength(2);
    expect((await world.deliveryOf(challenge))?.status).toBe('SENT');
  });

  it('that asks for more time than there is fails at once', async () => {
    const { world, challenge } = await meeting(busy(3_600 * SECOND));
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'FAILED', reason: 'RATE_LIMITED', resendable: true });
    await world.clock.advanceSlowly(70 * SECOND, 1_000);
    expect(world.sender.sent).toHaveLength(1);
  });

  it('is not asked again for a challenge that has ended meanwhile', async () => {
    const { world, ann, challenge, at } = await meeting(busy(5 * SECOND));
    await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'deny'));
    await world.clock.advanceSlowly(20 * SECOND, 200);
    expect(world.sender.sent).toHaveLength(1);
  });

  it('that slows one device down slows no other', async () => {
    const { world } = await meeting(busy(20 * SECOND));
    const bob = await world.enroll('bob');
    const { challenge } = await world.prompted(bob);
    expect((await world.deliveryOf(challenge))?.status).toBe('SENT');
  });

  it.each([
    [{ outcome: 'rejected', reason: 'TOO_LARGE', code: '413', config: false }, 0],
    [{ outcome: 'rejected', reason: 'VAPID', code: '403', config: true }, 1],
  ] as const)(
    'that refuses it with %o is not asked again; a fault of the settings raises the alarm',
    async (result, alarms) => {
      const { world, challenge } = await meeting(result);
      await world.clock.advanceSlowly(10 * SECOND, 500);
      expect(world.sender.sent).toHaveLength(1);
      expect(await world.deliveryOf(challenge)).toEqual({ status: 'FAILED', reason: result.reason, resendable: false });
      expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(alarms);
    },
  );
});

describe('a subscription that is gone', () => {
  it('is noted at once, and never sent to again', async () => {
    const { world, ann, challenge } = await meeting({ outcome: 'gone' });
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'FAILED', reason: 'UNREACHABLE', resendable: false });
    const factor = await world.factor(ann.factor.id);
    expect(factor.freezeReason).toBe('ENDPOINT_GONE');
    expect(isUsable(factor)).toBe(false);
    expect(world.eventsOf('factor.endpoint_gone')).toMatchObject([{ subject: 'ann', factorId: ann.factor.id }]);
    expect(world.eventsOf('factor.frozen')).toMatchObject([{ reason: 'ENDPOINT_GONE' }]);
    await world.clock.advanceSlowly(20 * SECOND, 500);
    expect(world.sender.sent).toHaveLength(1);
  });

  it('still counts as a factor, so that nobody enrols as if there had never been one', async () => {
    const { world, ann } = await meeting({ outcome: 'gone' });
    const { factor } = ann;
    const begun = await world.factors.begin({
      factor: {
        ...factor,
        id: `${factor.id}x`,
        method: 'totp',
        state: 'PENDING',
        expiresAt: world.clock.now() + SECOND,
      },
      consent: { id: 'cns_2', method: 'totp', textVersion: '1', language: 'en', grantedAt: world.clock.now() },
      firstOnly: true,
      maxFactors: 10,
      now: world.clock.now(),
      events: [],
    });
    expect(begun.outcome).toBe('not_first');
    expect((await world.factors.list(REALM, 'ann', world.clock.now())).map(({ state }) => state)).toContain('ACTIVE');
  });

  it('takes nothing from other devices of the person', async () => {
    const world = new PushWorld();
    const [one, two] = [await world.enroll('ann'), await world.enroll('ann')];
    world.sender.script.push({ outcome: 'gone' });
    await world.prompted(one);
    expect((await world.factor(two.factor.id)).freezeReason).toBeUndefined();
    const { challenge, number, at } = await world.prompted(two);
    expect(await world.sidecar.devices.answer(VISIT, two.device.reply(at, challenge, 'approve', number))).toBe(
      'approved',
    );
  });
});

describe('a sidecar', () => {
  it('that stops gives up what waits, says so, and takes no more', async () => {
    const { world, ann, challenge } = await meeting(busy(20 * SECOND));
    await world.sidecar.push.stop();
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'FAILED', reason: 'INTERRUPTED', resendable: true });
    const next = await world.open('ann', [ann]);
    await expect(world.prompt(next, ann)).rejects.toMatchObject({ kind: 'unavailable', reason: 'DELIVERY_FAILED' });
    expect(world.clock.pending).toBeLessThanOrEqual(1);
  });

  it('has at most two hundred on their way, and says so beyond them without counting', async () => {
    const world = new PushWorld();
    world.sender.always = { outcome: 'accepted', providerId: '' };
    world.sender.script.push(...Array.from({ length: 200 }, () => 'hang' as const));
    for (let index = 0; index < 200; index++) {
      const person = await world.enroll(`p${index}`);
      await world.prompt(await world.open(person.subject, [person]), person);
    }
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    await expect(world.prompt(challenge, ann)).rejects.toMatchObject({ reason: 'DELIVERY_FAILED' });
    expect(world.sender.sent).toHaveLength(200);
    world.sender.hanging.shift()?.({ outcome: 'accepted', providerId: '' });
    await settle();
    expect((await world.prompt(challenge, ann)).number).toMatch(/^\d\d$/);
    for (const end of world.sender.hanging) end({ outcome: 'accepted', providerId: '' });
    await settle();
  });

  it('says that nothing was sent where the stored device does not open', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    const damaged = {
      ...ann.factor,
      sealedSecret: ann.factor.sealedSecret.map((byte, at) => (at === 40 ? byte ^ 1 : byte)),
    };
    await world.prompt(challenge, { ...ann, factor: damaged });
    await settle();
    expect(world.sender.sent).toEqual([]);
    expect(await world.deliveryOf(challenge)).toMatchObject({ status: 'FAILED', resendable: false });
  });

  it('tells again what the store did not take', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    world.sender.script.push('hang');
    const { challenge } = await world.prompted(ann);
    world.sql.db.exec('ALTER TABLE challenges RENAME TO challenges_away');
    world.sender.hanging.shift()?.({ outcome: 'accepted', providerId: '' });
    await settle();
    world.sql.db.exec('ALTER TABLE challenges_away RENAME TO challenges');
    await world.clock.advanceSlowly(4 * SECOND, 200);
    expect((await world.deliveryOf(challenge))?.status).toBe('SENT');
  });
});
