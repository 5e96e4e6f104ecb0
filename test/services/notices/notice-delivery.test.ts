import { describe, expect, it } from 'vitest';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { NoticeSender, OutgoingNotice } from '#src/ports/notices.ts';
import { NoticeDelivery } from '#src/services/notices/notice-delivery.ts';
import { settle } from '../../support/clock.ts';
import { personWorld, REALM } from '../../support/person-world.ts';
import { APPLICATION } from '../../support/session-world.ts';

/** Does with each notice what the test says, and counts how many are on their way at once. */
class ScriptedSender implements NoticeSender {
  readonly sent: OutgoingNotice[] = [];
  behave: (notice: OutgoingNotice) => Promise<'sent' | 'unreachable'> = async () => 'sent';
  most = 0;
  #now = 0;

  async send(notice: OutgoingNotice): Promise<'sent' | 'unreachable'> {
    this.#now += 1;
    this.most = Math.max(this.most, this.#now);
    try {
      await Promise.resolve();
      const outcome = await this.behave(notice);
      this.sent.push(notice);
      return outcome;
    } finally {
      this.#now -= 1;
    }
  }
}

function deliveryWorld() {
  const world = personWorld();
  const sender = new ScriptedSender();
  const make = (everyMs = 5 * SECOND) =>
    new NoticeDelivery({
      ...world,
      outbox: world.stores.notices,
      sender,
      channel: 'webhook',
      everyMs,
      leaseMs: 30 * SECOND,
    });
  /** A change that the person is to be told of. */
  const change = async (fields: Partial<EventDraft> = {}) => {
    const event = world.trail.draft('device.trusted', APPLICATION, {
      realm: REALM,
      subject: 'ann',
      outcome: 'SUCCESS',
      ...fields,
    });
    await world.stores.devices.trust({
      device: {
        id: event.id,
        realm: REALM,
        subject: 'ann',
        tokenDigest: event.id,
        displayName: '',
        sealedConnection: new Uint8Array(),
        createdAt: 0,
        lastUsedAt: 0,
        expiresAt: world.clock.now() + HOUR,
      },
      maxDevices: 50,
      now: world.clock.now(),
      events: [event],
    });
    return event;
  };
  return { ...world, sender, delivery: make(), make, change };
}

describe('the delivery of notices', () => {
  it('takes each to the person once, with a link of its own, and says so in the trail', async () => {
    const { delivery, sender, change, links, trail, eventsOf, clock } = deliveryWorld();
    const event = await change({ method: 'totp', facts: { codes_left: '3' } });
    await delivery.drain();
    await delivery.drain();
    expect(sender.sent).toMatchObject([
      { id: event.id, realm: REALM, subject: 'ann', type: 'device.trusted', method: 'totp', at: clock.now() },
    ]);
    const token = sender.sent[0]?.notMeUrl.split('#')[1] ?? '';
    expect(links.read(token)).toMatchObject({ subject: 'ann', noticeId: event.id });
    await trail.drain();
    expect(eventsOf('notice.sent')).toMatchObject([
      { subject: 'ann', outcome: 'SUCCESS', facts: { about: 'device.trusted', channel: 'webhook' } },
    ]);
    await delivery.stop();
  });

  it('writes nothing about somebody who was erased while a notice was on its way', async () => {
    for (const outcome of ['sent', 'fails'] as const) {
      const { delivery, sender, change, stores, clock, trail, audit } = deliveryWorld();
      await change();
      sender.behave = async () => {
        clock.advance(25 * HOUR);
        await stores.subjects.erase({ realm: REALM, subject: 'ann', mark: 'm', now: clock.now(), events: [] });
        audit.events.length = 0;
        if (outcome === 'fails') throw new Error('the webhook answered 500');
        return 'sent';
      };
      await delivery.drain();
      await trail.drain();
      expect(audit.events).toEqual([]);
      await delivery.stop();
    }
  });

  it('tells nobody of what nobody needs to know', async () => {
    const { delivery, sender, change } = deliveryWorld();
    await change({ type: 'device.renamed' });
    await change({ type: 'session.ended', reason: 'LOGOUT' });
    await delivery.drain();
    expect(sender.sent).toEqual([]);
    await delivery.stop();
  });

  it('begins at once when a change was made here, and looks by itself for what others left', async () => {
    const { delivery, sender, change, clock } = deliveryWorld();
    delivery.start();
    await clock.advanceSlowly(200);
    await change();
    delivery.noted([{ type: 'device.trusted', outcome: 'SUCCESS', count: 1 }]);
    await clock.advanceSlowly(200);
    expect(sender.sent).toHaveLength(1);
    await change();
    delivery.noted([{ type: 'session.created', outcome: 'SUCCESS', count: 1 }]);
    await clock.advanceSlowly(4 * SECOND);
    expect(sender.sent).toHaveLength(1);
    await clock.advanceSlowly(2 * SECOND);
    expect(sender.sent).toHaveLength(2);
    await delivery.stop();
  });

  it('sends four at a time and takes all that wait', async () => {
    const { delivery, sender, change } = deliveryWorld();
    for (let count = 0; count < 11; count += 1) await change();
    await delivery.drain();
    expect(sender.sent).toHaveLength(11);
    expect(sender.most).toBe(4);
    await delivery.stop();
  });

  it('is done by one of two sidecars', async () => {
    const { delivery, make, sender, change } = deliveryWorld();
    const other = make();
    for (let count = 0; count < 9; count += 1) await change();
    await Promise.all([delivery.drain(), other.drain()]);
    expect(sender.sent).toHaveLength(9);
    expect(new Set(sender.sent.map(({ id }) => id)).size).toBe(9);
    await Promise.all([delivery.stop(), other.stop()]);
  });

  it('tries again with growing pauses, and gives up with an event and a word to the operator', async () => {
    const { delivery, sender, change, clock, trail, eventsOf, log } = deliveryWorld();
    const tries: number[] = [];
    sender.behave = async () => {
      tries.push(clock.now());
      throw new Error('the webhook answered 500');
    };
    await change();
    delivery.start();
    await clock.advanceSlowly(12 * HOUR, 2 * SECOND);
    expect(tries).toHaveLength(12);
    const pauses = tries.slice(1).map((at, index) => at - (tries[index] ?? 0));
    expect(pauses[0]).toBeLessThanOrEqual(10 * SECOND + 5 * SECOND);
    expect(pauses[8]).toBeGreaterThan(10 * MINUTE);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(HOUR + 10 * SECOND);
    await delivery.stop();
    await trail.drain();
    expect(eventsOf('notice.failed')).toMatchObject([{ outcome: 'FAILED', reason: 'GIVEN_UP', subject: 'ann' }]);
    expect(eventsOf('notice.sent')).toEqual([]);
    expect(log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
  }, 60_000);

  it('says plainly when there is no way to tell the person, and does not try again', async () => {
    const { delivery, sender, change, clock, trail, eventsOf } = deliveryWorld();
    sender.behave = async () => 'unreachable';
    await change();
    await delivery.drain();
    clock.advance(HOUR);
    await delivery.drain();
    expect(sender.sent).toHaveLength(1);
    await delivery.stop();
    await trail.drain();
    expect(eventsOf('notice.failed')).toMatchObject([{ reason: 'UNREACHABLE' }]);
  });

  it('sends one that a crash left, once its lease is over', async () => {
    const { delivery, sender, change, clock, stores } = deliveryWorld();
    await change();
    expect(await stores.notices.lease(clock.now(), 30 * SECOND, 4)).toHaveLength(1);
    await delivery.drain();
    expect(sender.sent).toEqual([]);
    await clock.advanceSlowly(29 * SECOND, SECOND);
    expect(sender.sent).toEqual([]);
    await clock.advanceSlowly(6 * SECOND, SECOND);
    expect(sender.sent).toHaveLength(1);
    await delivery.stop();
  });

  it('does not send for ever what ends the process each time', async () => {
    const { delivery, sender, change, clock, stores, trail, eventsOf } = deliveryWorld();
    await change();
    for (let crash = 0; crash < 12; crash += 1) {
      expect(await stores.notices.lease(clock.now(), SECOND, 4)).toHaveLength(1);
      clock.advance(SECOND);
    }
    await delivery.drain();
    expect(sender.sent).toEqual([]);
    await delivery.stop();
    await trail.drain();
    expect(eventsOf('notice.failed')).toHaveLength(1);
    expect(await stores.notices.lease(clock.now() + HOUR, SECOND, 4)).toEqual([]);
  });

  it('goes on when the outbox has been away', async () => {
    const { make, sender, change, stores, clock, log } = deliveryWorld();
    // As where many sidecars share the outbox.
    const delivery = make(30 * SECOND);
    const lease = stores.notices.lease.bind(stores.notices);
    await change();
    stores.notices.lease = () => Promise.reject(new Error('postgres is away'));
    delivery.start();
    await clock.advanceSlowly(40 * SECOND);
    expect(log.lines.filter((line) => line.startsWith('warn'))).toHaveLength(1);
    stores.notices.lease = lease;
    await clock.advanceSlowly(6 * SECOND);
    expect(sender.sent).toHaveLength(1);
    await delivery.stop();
  });

  it('stops when what is on its way has arrived, and begins nothing more', async () => {
    const { delivery, sender, change, clock } = deliveryWorld();
    let arrive = () => {};
    sender.behave = () =>
      new Promise((resolve) => {
        arrive = () => resolve('sent');
      });
    await change();
    delivery.start();
    await clock.advanceSlowly(200);
    let stopped = false;
    const stopping = delivery.stop().then(() => {
      stopped = true;
    });
    await settle();
    expect(stopped).toBe(false);
    arrive();
    await stopping;
    await change();
    delivery.noted([{ type: 'device.trusted', outcome: 'SUCCESS', count: 1 }]);
    await clock.advanceSlowly(MINUTE, SECOND);
    expect(sender.sent).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });
});
