import { describe, expect, it } from 'vitest';
import { secretBinding } from '#src/domain/factor.ts';
import { DAY } from '#src/domain/time.ts';
import type { OutgoingNotice } from '#src/ports/notices.ts';
import type { SendResult, SmsMessage } from '#src/ports/senders.ts';
import { SmsNotices } from '#src/services/notices/sms-notices.ts';
import { personWorld, REALM } from '../../support/person-world.ts';

const NUMBER = '+14155550132';

async function smsWorld(options: { readonly maxPerDay?: number; readonly blocked?: boolean } = {}) {
  const world = personWorld();
  const messages: SmsMessage[] = [];
  const script: { result: SendResult } = { result: { outcome: 'accepted', providerId: 'SM1' } };
  const notices = new SmsNotices({
    ...world,
    ...world.stores,
    numberOf: async (factor) =>
      options.blocked ? '' : Buffer.from(world.box.open(factor.sealedSecret, secretBinding(factor))).toString(),
    sender: {
      send: async (message) => {
        messages.push(message);
        return script.result;
      },
    },
    appName: 'Acme',
    maxPerDay: options.maxPerDay ?? 1_000,
  });
  const enrol = async (subject = 'ann') => {
    const factor = await world.hold('sms', 'ACTIVE', subject, (row) =>
      world.box.seal(Buffer.from(NUMBER), secretBinding(row)),
    );
    return factor;
  };
  const notice = (over: Partial<OutgoingNotice> = {}): OutgoingNotice => ({
    id: 'evt_1',
    realm: REALM,
    subject: 'ann',
    type: 'factor.enrolled',
    method: 'totp',
    at: world.clock.now(),
    facts: {},
    notMeUrl: 'https://id.example.com/not-me#t',
    ...over,
  });
  return { ...world, messages, script, notices, enrol, notice };
}

describe('a notice by SMS', () => {
  it('goes to the number that the person has enrolled, with the link', async () => {
    const { notices, enrol, notice, messages } = await smsWorld();
    await enrol();
    expect(await notices.send(notice())).toBe('sent');
    expect(messages).toMatchObject([
      {
        to: NUMBER,
        body: 'Acme: A sign-in method was added. Not you? https://id.example.com/not-me#t',
        callbackUrl: '',
      },
    ]);
  });

  it('tells the number that a change took away, and not the one in its place', async () => {
    const { notices, enrol, notice, messages, box } = await smsWorld();
    await enrol();
    const row = { id: 'fac_old', realm: REALM, subject: 'ann' };
    const sealedSecret = box.seal(Buffer.from('+14155550199'), secretBinding(row));
    const formerNumber = { factorId: row.id, sealedSecret };
    expect(await notices.send(notice({ type: 'factor.replaced', method: 'sms', formerNumber }))).toBe('sent');
    expect(messages.map(({ to }) => to)).toEqual(['+14155550199']);
  });

  it('reaches nobody who has no number, took back the consent, or never finished enrolling one', async () => {
    const { notices, enrol, notice, messages, hold, stores } = await smsWorld();
    expect(await notices.send(notice())).toBe('unreachable');
    await hold('sms', 'PENDING', 'bob');
    expect(await notices.send(notice({ subject: 'bob' }))).toBe('unreachable');
    await enrol();
    const freeze = { realm: REALM, subject: 'ann', methods: ['sms'], events: [] } as const;
    await stores.factors.freeze({ ...freeze, reason: 'CONSENT_WITHDRAWN' });
    expect(await notices.send(notice())).toBe('unreachable');
    expect(messages).toEqual([]);
  });

  it('does not go where no messages may go to any more', async () => {
    const { notices, enrol, notice, messages } = await smsWorld({ blocked: true });
    await enrol();
    expect(await notices.send(notice())).toBe('unreachable');
    expect(messages).toEqual([]);
  });

  it('is sent once when it may have been sent, and again only when it surely was not', async () => {
    const { notices, enrol, notice, script } = await smsWorld();
    await enrol();
    script.result = { outcome: 'unknown', reason: 'NO_ANSWER' };
    expect(await notices.send(notice())).toBe('sent');
    script.result = { outcome: 'rejected', reason: 'UNREACHABLE', code: '30003', config: false };
    expect(await notices.send(notice())).toBe('unreachable');
    script.result = { outcome: 'rejected', reason: 'SENDER_CONFIG', code: '20003', config: true };
    await expect(notices.send(notice())).rejects.toThrow('SENDER_CONFIG');
    script.result = { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: undefined };
    await expect(notices.send(notice())).rejects.toThrow('PROVIDER_BUSY');
  });

  it('is bounded for one person within a day, whatever somebody makes happen', async () => {
    const { notices, enrol, notice, messages, clock } = await smsWorld();
    await enrol();
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, () => notices.send(notice())));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
    expect(messages).toHaveLength(10);
    clock.advance(DAY + 1);
    expect(await notices.send(notice())).toBe('sent');
  });

  it('counts towards the spend stop', async () => {
    const { notices, enrol, notice, messages } = await smsWorld({ maxPerDay: 3 });
    for (const subject of ['ann', 'bob', 'cyd', 'dan']) await enrol(subject);
    const all = ['ann', 'bob', 'cyd', 'dan'].map((subject) => notices.send(notice({ subject })));
    const outcomes = await Promise.allSettled(all);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(messages).toHaveLength(3);
  });
});
