import { describe, expect, it } from 'vitest';
import { TwilioReports } from '#src/adapters/twilio/twilio-reports.ts';
import { Fault } from '#src/domain/faults.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { SmsMessage } from '#src/ports/senders.ts';
import { APP, enrollmentInput, PUBLIC_URL, SmsWorld } from '../../support/sms-world.ts';
import { ACCOUNT_SID, AUTH_TOKEN, signedReport } from '../../support/twilio-stand-in.ts';

const reports = new TwilioReports({ accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN });

async function sent(over: ConstructorParameters<typeof SmsWorld>[0] = {}) {
  const world = new SmsWorld({ reports, ...over });
  const sidecar = world.sidecar();
  const factor = world.factor('ada');
  const challenge = await world.challenge([factor]);
  const prompt = (again = false) => sidecar.method.prompt(APP, challenge, factor, again);
  await prompt();
  await world.turn();
  const { callbacks } = sidecar;
  if (!callbacks) throw new Error('there are reports');
  /** As Twilio reports on the `nth` message. */
  const report = (status: string, errorCode?: number, nth = 0, by = callbacks) => {
    const message = world.sender.asked.at(nth);
    if (!message) throw new Error('there is no such message');
    return by.receive(undefined, callbackOn(message, nth, status, errorCode));
  };
  const delivery = async () => (await world.read(challenge)).delivery;
  return { world, ...sidecar, callbacks, factor, challenge, prompt, report, delivery };
}

function callbackOn(message: SmsMessage, nth: number, status: string, errorCode?: number) {
  const form = { StatusCallback: message.callbackUrl, From: '+15005550006' };
  const sid = `SM${String(nth).padStart(32, '0')}`;
  const signed = signedReport({ sid, to: message.to, form }, status, errorCode === undefined ? {} : { errorCode });
  return { url: message.callbackUrl, signature: signed.signature, params: [...signed.form] };
}

describe('what the provider reports', () => {
  it('is taken for its message: DELIVERED', async () => {
    const { world, report, delivery } = await sent();
    expect(await report('sent')).toBe(true);
    expect(await report('delivered')).toBe(true);
    expect(await delivery()).toMatchObject({ status: 'DELIVERED', reason: '', resendable: false });
    expect(world.metrics.count('sms', 'delivered', '')).toBe(1);
  });

  it.each([
    [30003, 'UNREACHABLE', true, 0],
    [30005, 'NUMBER_INVALID', false, 0],
    [30007, 'CARRIER_FILTERED', false, 1],
    [30008, 'CARRIER_ERROR', true, 0],
    [30450, 'FRAUD_BLOCKED', false, 1],
  ])('is taken at once as FAILED: %i is %s', async (code, reason, resendable, alarms) => {
    const { world, challenge, report, delivery } = await sent();
    const heard: string[] = [];
    world.signals.onChallenge(challenge.id, ({ delivery: told }) => heard.push(told?.status ?? ''));
    await report('undelivered', code);
    expect(await delivery()).toMatchObject({ status: 'FAILED', reason, resendable, at: world.clock.now() });
    expect(heard).toEqual(['FAILED']);
    expect(world.metrics.count('sms', 'undelivered', reason)).toBe(1);
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(alarms);
    expect(world.eventsOf('challenge.delivery_failed')).toMatchObject([{ reason, method: 'sms' }]);
  });

  it('counts once, in any order and as often as it comes, through any sidecar', async () => {
    const { world, report, delivery } = await sent();
    const other = world.sidecar().callbacks;
    for (const status of ['delivered', 'sent', 'queued', 'delivered', 'sending', 'sent', 'delivered']) {
      await report(status);
      await report(status, undefined, 0, other);
    }
    expect(await delivery()).toMatchObject({ status: 'DELIVERED' });
    expect(world.eventsOf('challenge.delivered').map(({ reason }) => reason)).toEqual(['SENT', 'DELIVERED']);
    // Each sidecar counts what reached it.
    expect(world.metrics.count('sms', 'delivered', '')).toBe(2);
  });

  it('does not make a failure good by late word that it had been sent', async () => {
    const { report, delivery } = await sent();
    await report('undelivered', 30003);
    await report('sent');
    expect(await delivery()).toMatchObject({ status: 'FAILED', reason: 'UNREACHABLE' });
  });

  it('settles what nobody knew', async () => {
    const world = new SmsWorld({ reports });
    world.sender.next.push({ outcome: 'unknown', reason: 'NO_ANSWER' });
    const { method, callbacks } = world.sidecar();
    const factor = world.factor('ada');
    const challenge = await world.challenge([factor]);
    await method.prompt(APP, challenge, factor, false);
    await world.turn();
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'UNKNOWN', resendable: true });
    const [message] = world.sender.asked;
    if (message) await callbacks?.receive(undefined, callbackOn(message, 0, 'delivered'));
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'DELIVERED', resendable: false });
  });

  it('on an older message says nothing about the newer one', async () => {
    const { world, prompt, report, delivery } = await sent();
    await prompt(true);
    await world.turn();
    await report('undelivered', 30003, 0);
    expect(await delivery()).toMatchObject({ status: 'SENT' });
    await report('undelivered', 30008, 1);
    expect(await delivery()).toMatchObject({ status: 'FAILED', reason: 'CARRIER_ERROR' });
  });

  it('comes too late for a challenge that has ended, and changes nothing', async () => {
    const { world, challenge, report } = await sent();
    world.clock.advance(MINUTE);
    expect(await report('undelivered', 30003)).toBe(true);
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'SENT' });
  });

  it('about an enrolment is counted, and nothing else', async () => {
    const world = new SmsWorld({ reports });
    const { enrollment, callbacks } = world.sidecar();
    const row = world.factor('ada', undefined, { state: 'PENDING' });
    await enrollment.material(APP, row, enrollmentInput(), false);
    const [message] = world.sender.asked;
    if (!message) throw new Error('a code is sent');
    expect(await callbacks?.receive(undefined, callbackOn(message, 0, 'undelivered', 30003))).toBe(true);
    expect(world.metrics.count('sms', 'undelivered', 'UNREACHABLE')).toBe(1);
  });

  it('is asked for again when it cannot be noted, and taken then', async () => {
    const { world, report, delivery } = await sent();
    const note = world.challenges.noteDelivery.bind(world.challenges);
    world.challenges.noteDelivery = () => Promise.reject(new Fault('unavailable', 'STORE_UNAVAILABLE', 'away'));
    await expect(report('delivered')).rejects.toMatchObject({ kind: 'unavailable' });
    expect(world.metrics.count('sms', 'delivered', '')).toBe(0);
    world.challenges.noteDelivery = note;
    await report('delivered');
    expect(await delivery()).toMatchObject({ status: 'DELIVERED' });
  });
});

describe('what somebody else reports', () => {
  it('is refused before anything of it is looked at', async () => {
    const { world, callbacks, delivery, links } = await sent();
    const [message] = world.sender.asked;
    if (!message) throw new Error('a code is sent');
    let reads = 0;
    links.read = () => {
      reads += 1;
      return undefined;
    };
    const good = callbackOn(message, 0, 'undelivered', 30003);
    expect(await callbacks.receive(undefined, { ...good, signature: '' })).toBe(false);
    expect(await callbacks.receive(undefined, { ...good, url: `${good.url}x` })).toBe(false);
    expect(await callbacks.receive(undefined, { ...good, params: [...good.params, ['a', 'b']] })).toBe(false);
    expect(reads).toBe(0);
    expect(await delivery()).toMatchObject({ status: 'SENT' });
  });

  it('about nothing that was sent from here is acknowledged and changes nothing, whoever signed it', async () => {
    const { world, callbacks, links, challenge, delivery } = await sent();
    const foreign = new SmsWorld({ reports, seed: 'foreign' }).sidecar().links;
    const about = { realm: 'shop', challengeId: challenge.id, factorId: 'fac_1', deliveryId: 'dlv_1' };
    const good = links.make(about);
    const urls = [
      foreign.make(about),
      `${PUBLIC_URL}/callbacks/twilio`,
      `${PUBLIC_URL}/callbacks/twilio?about=`,
      `${PUBLIC_URL}/callbacks/twilio?about=${'A'.repeat(2_000)}`,
      `${PUBLIC_URL}/callbacks/twilio?about=..%2F`,
      `${good.slice(0, -2)}${good.endsWith('AA') ? 'BB' : 'AA'}`,
      `${good}&about=x`,
    ];
    for (const callbackUrl of urls) {
      const forged = callbackOn({ to: '+1', body: '', validityMs: 1, callbackUrl }, 9, 'undelivered', 30003);
      expect(await callbacks.receive(undefined, forged)).toBe(true);
    }
    expect(await delivery()).toMatchObject({ status: 'SENT' });
    expect(world.metrics.count('sms', 'undelivered', 'UNREACHABLE')).toBe(0);
  });
});

describe('the URL that the provider calls', () => {
  it('names nobody in the clear', async () => {
    const { world, challenge, factor } = await sent();
    const url = world.sender.asked[0]?.callbackUrl ?? '';
    expect(url).toMatch(/^https:\/\/auth\.example\/callbacks\/twilio\?about=[\w-]{100,400}$/);
    for (const secret of [challenge.id, factor.id, 'shop', 'ada']) expect(url).not.toContain(secret);
  });

  it('is not given where nobody could call', async () => {
    const { world } = await sent({ publicUrl: '' });
    expect(world.sender.asked[0]?.callbackUrl).toBe('');
  });
});
