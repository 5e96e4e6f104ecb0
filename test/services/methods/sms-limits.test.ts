import { describe, expect, it } from 'vitest';
import { maskNumber } from '#src/domain/phone-number.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { SmsLimits } from '#src/services/methods/sms-limits.ts';
import { settle } from '../../support/clock.ts';
import { faultOf } from '../../support/fault-of.ts';
import { APP, NUMBER, REALM, SmsWorld, type SmsWorldOptions } from '../../support/sms-world.ts';

/** Room for everything but what a test is about. */
const WIDE: SmsWorldOptions = {
  maxSends: 1_000_000,
  maxPerNumberDay: 1_000_000,
  maxPerPrefixHour: 1_000_000,
  maxPerCountryHour: 1_000_000,
  maxPerRealmHour: 1_000_000,
  maxPerDay: 1_000_000,
  minVerifiedShare: 0,
};

const numberOf = (index: number) => `+1415${String(5_550_000 + index).padStart(7, '0')}`;

function worldOf(options: SmsWorldOptions = {}) {
  const world = new SmsWorld({ ...WIDE, ...options });
  const { limits } = world.sidecar();
  const reserve = (
    over: { subject?: string; e164?: string; country?: string; realm?: string; once?: string; by?: SmsLimits } = {},
  ) => {
    const { subject = 'ada', e164 = NUMBER, country = 'US', realm = REALM, once, by = limits } = over;
    return by.reserve(APP, {
      realm,
      subject,
      number: { e164, country },
      ...(once === undefined ? {} : { once }),
      fields: { factorId: 'fac_1' },
    });
  };
  return { world, limits, reserve };
}

describe('the limits on messages', () => {
  it('let three to a person within ten minutes through, from any sidecar, and the fourth when the first is out (SMS-4)', async () => {
    const { world, reserve } = worldOf({ maxSends: 3 });
    const other = world.sidecar().limits;
    await reserve();
    world.clock.advance(MINUTE);
    await reserve({ e164: '+14155550001', by: other });
    await reserve({ e164: '+14155550002' });
    const fault = await faultOf(reserve({ e164: '+14155550003', by: other }));
    expect(fault).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(fault.details).toMatchObject({
      quota: { subject: 'sms_per_person' },
      metadata: { limit: 'sms_per_person' },
      retryAfterMs: 9 * MINUTE + 1,
    });
    world.clock.advance(9 * MINUTE + 1);
    await reserve();
    expect(await faultOf(reserve())).toMatchObject({ reason: 'LIMIT_EXCEEDED' });
  });

  it('let three to a number within ten minutes through, whoever it is enrolled for', async () => {
    const { reserve } = worldOf({ maxSends: 3 });
    for (const subject of ['ada', 'bob', 'cyd']) await reserve({ subject });
    const fault = await faultOf(reserve({ subject: 'dan' }));
    expect(fault.details.quota?.subject).toBe('sms_per_number');
    await reserve({ subject: 'dan', e164: '+14155550001' });
  });

  it('let exactly three of a hundred at once through, over two sidecars', async () => {
    const { world, reserve } = worldOf({ maxSends: 3 });
    const other = world.sidecar().limits;
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, at) => reserve(at % 2 ? { by: other } : {})),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
  });

  it.each([
    ['sms_per_number_day', { maxPerNumberDay: 4 }, { subject: 'p' }, 4, DAY],
    ['sms_per_country', { maxPerCountryHour: 7 }, { subject: 's', e164: 'n' }, 7, HOUR],
    ['sms_per_realm', { maxPerRealmHour: 9 }, { subject: 's', e164: 'n' }, 9, HOUR],
    ['sms_spend', { maxPerDay: 12 }, { subject: 's', e164: 'n' }, 12, DAY],
  ] as const)('stop at %s, and only what is within its window counts', async (name, options, vary, most, windowMs) => {
    const { world, reserve } = worldOf(options);
    const send = (index: number) =>
      reserve({ subject: `${vary.subject}${index}`, ...('e164' in vary ? { e164: numberOf(index * 1_000) } : {}) });
    for (let index = 0; index < most; index += 1) await send(index);
    const fault = await faultOf(send(most));
    expect(fault.details.quota?.subject).toBe(name);
    expect(fault.details.retryAfterMs).toBe(windowMs + 1);
    world.clock.advance(windowMs);
    expect((await faultOf(send(most))).details.quota?.subject).toBe(name);
    world.clock.advance(1);
    await send(most);
    expect(world.metrics.count('sms', 'limited', name)).toBe(2);
  });

  it('stop 500 messages to numbers in a row after ten, with an event, and leave other numbers alone (SMS-5, A20)', async () => {
    const { world, reserve } = worldOf({ maxPerPrefixHour: 10 });
    let sent = 0;
    for (let index = 0; index < 500; index += 1) {
      const outcome = await reserve({ subject: `bot-${index}`, e164: numberOf(index) }).catch(() => 'refused');
      if (outcome === 'reserved') sent += 1;
      world.clock.advance(SECOND);
    }
    expect(sent).toBe(10);
    expect(world.eventsOf('limit.hit').length).toBeGreaterThan(0);
    expect(world.eventsOf('limit.hit')[0]).toMatchObject({
      outcome: 'REFUSED',
      reason: 'LIMIT_EXCEEDED',
      method: 'sms',
      factorId: 'fac_1',
      facts: { limit: 'sms_per_prefix' },
    });
    await reserve({ subject: 'ada', e164: '+12125550100' });
  });

  it('count nothing that was refused', async () => {
    const { world, reserve } = worldOf({ maxSends: 1, maxPerCountryHour: 3 });
    await reserve();
    for (let again = 0; again < 10; again += 1) await faultOf(reserve());
    await reserve({ subject: 'bob', e164: numberOf(1) });
    await reserve({ subject: 'cyd', e164: numberOf(2) });
    expect((await faultOf(reserve({ subject: 'dan', e164: numberOf(3) }))).details.quota?.subject).toBe(
      'sms_per_country',
    );
    expect(world.sender.asked).toEqual([]);
  });

  it('of one realm are nothing to another', async () => {
    const { reserve } = worldOf({ maxSends: 1, maxPerPrefixHour: 1, maxPerCountryHour: 1, maxPerRealmHour: 1 });
    await reserve();
    await reserve({ realm: 'bank', e164: numberOf(7) });
    await faultOf(reserve());
  });

  it.each([
    ['sms_per_number', { maxSends: 2 }, () => NUMBER],
    ['sms_per_number_day', { maxPerNumberDay: 2 }, () => NUMBER],
    ['sms_spend', { maxPerDay: 2 }, numberOf],
  ])('hold over all realms together: %s (SMS-4, SMS-5)', async (name, limit, e164Of) => {
    const { reserve } = worldOf(limit);
    for (const [index, realm] of ['shop', 'bank'].entries()) {
      await reserve({ realm, subject: `p${index}`, e164: e164Of(index) });
    }
    const fault = await faultOf(reserve({ realm: 'club', subject: 'p9', e164: e164Of(9) }));
    expect(fault.details.quota?.subject).toBe(name);
  });

  it('say once what may happen once, whatever else there is room for', async () => {
    const { world, limits, reserve } = worldOf();
    expect(await reserve({ once: 'chl_1' })).toBe('reserved');
    expect(await reserve({ once: 'chl_1', by: world.sidecar().limits })).toBe('repeated');
    expect(await reserve({ once: 'chl_2' })).toBe('reserved');
    await limits.forget({
      ...{ realm: REALM, subject: 'ada', number: { e164: NUMBER, country: 'US' } },
      once: 'chl_1',
      fields: {},
    });
    expect(await reserve({ once: 'chl_1' })).toBe('reserved');
    expect(world.eventsOf('limit.hit')).toEqual([]);
  });

  it('know people and numbers by digests alone', async () => {
    const { world, reserve } = worldOf({ maxSends: 1 });
    await reserve({ subject: 'ada.lovelace', once: 'chl_secret' });
    await faultOf(reserve({ subject: 'ada.lovelace' }));
    await settle();
    const stored = world.dump();
    for (const secret of [
      'ada.lovelace',
      'chl_secret',
      NUMBER,
      NUMBER.slice(1),
      NUMBER.slice(0, -3),
      maskNumber(NUMBER),
    ]) {
      expect(stored).not.toContain(secret);
      // Nor in another spelling.
      expect(stored).not.toContain(Buffer.from(secret).toString('base64url'));
      expect(stored).not.toContain(Buffer.from(secret).toString('hex'));
    }
    expect(stored).not.toContain(Buffer.from(`${REALM}\nada.lovelace`).toString('base64url'));
    expect(JSON.stringify(world.eventsOf('limit.hit'))).not.toContain(NUMBER.slice(1));
  });
});

describe('the breaker for codes that do not come back', () => {
  const BREAKER = { minVerifiedShare: 0.2, minVerifiedSends: 20 };

  async function pump(reserve: ReturnType<typeof worldOf>['reserve'], count: number, country = 'US') {
    for (let index = 0; index < count; index += 1) {
      await reserve({ subject: `${country}-${index}`, e164: numberOf(index * 1_000), country });
    }
  }

  it('stops a country once people have had time to type, and no other country (SMS-5)', async () => {
    const { world, reserve } = worldOf(BREAKER);
    await pump(reserve, 20);
    await reserve({ subject: 'young' });
    world.clock.advance(3 * MINUTE);
    const fault = await faultOf(reserve({ subject: 'next' }));
    expect(fault.details.quota?.subject).toBe('sms_unverified');
    await reserve({ subject: 'next', country: 'CA', e164: '+16135550132' });
  });

  it('stays shut while enough codes come back, and opens when the bad hour is over', async () => {
    const { world, limits, reserve } = worldOf(BREAKER);
    await pump(reserve, 20);
    for (let good = 0; good < 4; good += 1) await limits.credit(REALM, 'US');
    world.clock.advance(3 * MINUTE);
    await reserve({ subject: 'fine' });
    await pump(reserve, 20);
    world.clock.advance(3 * MINUTE);
    const fault = await faultOf(reserve({ subject: 'next' }));
    world.clock.advance(fault.details.retryAfterMs ?? 0);
    world.clock.advance(HOUR);
    await reserve({ subject: 'next' });
  });

  it('looks at nothing where it is switched off, or before there are enough', async () => {
    const off = worldOf({ ...BREAKER, minVerifiedShare: 0 });
    await pump(off.reserve, 30);
    off.world.clock.advance(4 * MINUTE);
    await off.reserve({ subject: 'next' });
    const few = worldOf(BREAKER);
    await pump(few.reserve, 19);
    few.world.clock.advance(4 * MINUTE);
    await few.reserve({ subject: 'next' });
  });
});

describe('the alarm', () => {
  it('is raised once when messages stop, however many are refused by however many sidecars, and once when they go on', async () => {
    const { world, reserve } = worldOf({ maxPerDay: 3 });
    const others = [world.sidecar().limits, world.sidecar().limits];
    for (let index = 0; index < 3; index += 1) await reserve({ subject: `p${index}` });
    for (const by of [undefined, ...others, undefined, ...others]) {
      await faultOf(reserve({ subject: 'x', ...(by ? { by } : {}) }));
      world.clock.advance(5 * MINUTE);
    }
    expect(world.eventsOf('sms.stopped')).toMatchObject([
      { realm: REALM, method: 'sms', outcome: 'REFUSED', facts: { limit: 'sms_spend' } },
    ]);
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    world.clock.advance(DAY);
    for (const by of others) await reserve({ subject: 'x', by });
    expect(world.eventsOf('sms.resumed')).toMatchObject([{ facts: { limit: 'sms_spend' } }]);
    await reserve({ subject: 'y' });
    expect(world.eventsOf('sms.resumed')).toHaveLength(1);
  });

  it('is raised anew when messages stop again, but not while they stop and go', async () => {
    const { world, reserve } = worldOf({ maxPerDay: 2 });
    const fill = async () => {
      for (let index = 0; index < 5; index += 1) await reserve({ subject: `f${index}` }).catch(() => {});
    };
    await fill();
    world.clock.advance(DAY + 1);
    await fill();
    expect([world.eventsOf('sms.stopped').length, world.eventsOf('sms.resumed').length]).toEqual([2, 1]);
    const [, second] = world.eventsOf('sms.stopped');
    expect(second?.at).toBe(world.clock.now());
    const flapping = worldOf({ maxPerDay: 1 });
    await flapping.reserve();
    await faultOf(flapping.reserve());
    flapping.world.clock.advance(DAY - 30 * SECOND);
    await faultOf(flapping.reserve());
    flapping.world.clock.advance(30 * SECOND + 1);
    await flapping.reserve();
    await faultOf(flapping.reserve());
    expect(flapping.world.eventsOf('sms.stopped')).toHaveLength(1);
    expect(flapping.world.eventsOf('sms.resumed')).toHaveLength(0);
  });

  it('is raised anew within the same hour, once messages had gone on', async () => {
    const { world, limits, reserve } = worldOf({ minVerifiedShare: 0.5, minVerifiedSends: 4 });
    const send = (from: number) =>
      Promise.all(Array.from({ length: 4 }, (_, at) => reserve({ subject: `p${from + at}` })));
    await send(0);
    world.clock.advance(4 * MINUTE);
    await faultOf(reserve({ subject: 'x' }));
    for (let late = 0; late < 4; late += 1) await limits.credit(REALM, 'US');
    world.clock.advance(2 * MINUTE);
    await send(4);
    await send(8);
    world.clock.advance(4 * MINUTE);
    await faultOf(reserve({ subject: 'y' }));
    expect(world.audit.events.map(({ type }) => type).filter((type) => type.startsWith('sms.'))).toEqual([
      'sms.stopped',
      'sms.resumed',
      'sms.stopped',
    ]);
  });

  it('names the country where that is what was stopped', async () => {
    const { world, reserve } = worldOf({ minVerifiedShare: 0.5, minVerifiedSends: 5 });
    for (let index = 0; index < 5; index += 1) await reserve({ subject: `p${index}` });
    world.clock.advance(3 * MINUTE);
    await faultOf(reserve({ subject: 'x' }));
    expect(world.eventsOf('sms.stopped')).toMatchObject([{ facts: { limit: 'sms_unverified', country: 'US' } }]);
  });

  it('that cannot be recorded changes nothing about the refusal', async () => {
    const { world, reserve } = worldOf({ maxPerDay: 1 });
    await reserve();
    const original = world.ledger.reserve.bind(world.ledger);
    world.ledger.reserve = (command) =>
      command.events.length > 0 ? Promise.reject(new Error('away')) : original(command);
    expect(await faultOf(reserve())).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(world.log.lines.join()).toContain('could not be recorded');
  });

  it('is not raised for what a person runs into alone', async () => {
    const { world, reserve } = worldOf({ maxSends: 1 });
    await reserve();
    await faultOf(reserve());
    expect(world.eventsOf('sms.stopped')).toEqual([]);
  });
});
