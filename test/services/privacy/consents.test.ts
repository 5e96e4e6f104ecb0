import { describe, expect, it } from 'vitest';
import { APPLICATION, HOME, privacyWorld, settle } from '../../support/privacy-world.ts';
import { factorOf, person, REALM } from '../../support/store-samples.ts';

const uuid = '3f0d2a52-9f8c-4b29-9d9a-9d5f3f0a1b11';

async function world() {
  const made = await privacyWorld();
  const subject = person();
  const record = (over: Partial<Parameters<typeof made.consents.record>[1]> = {}) =>
    made.consents.record(APPLICATION, {
      realm: REALM,
      subject,
      method: 'sms',
      textVersion: '2026-11',
      language: 'sv',
      client: HOME,
      requestId: '',
      ...over,
    });
  const withdraw = (over: Partial<Parameters<typeof made.consents.withdraw>[1]> = {}) =>
    made.consents.withdraw(APPLICATION, { realm: REALM, subject, method: 'sms', requestId: '', ...over });
  const events = async (of = subject) =>
    (await made.stores.audit.query({ realm: REALM, subject: of }, 100)).toReversed();
  return { ...made, world: made, subject, record, withdraw, events };
}

describe('a consent', () => {
  it('keeps version and language of the text, the time, and from where, which is shown as a network only', async () => {
    const { record, consents, subject, clock, stores } = await world();
    const given = await record();
    expect(given).toMatchObject({
      method: 'sms',
      textVersion: '2026-11',
      language: 'sv',
      grantedAt: clock.now(),
      network: '203.0.113.0/24',
    });
    expect(await consents.list(REALM, subject)).toEqual([given]);
    const [stored] = await stores.consents.list(REALM, subject);
    expect(Buffer.from(stored?.sealedAddress ?? []).includes(HOME.ipAddress)).toBe(false);
  });

  it('is an event with the version, in which the address is personal', async () => {
    const { record, events } = await world();
    await record();
    expect((await events()).map(({ type, facts, ipAddress, method }) => ({ type, facts, ipAddress, method }))).toEqual([
      {
        type: 'consent.recorded',
        facts: [
          { key: 'language', value: 'sv' },
          { key: 'text_version', value: '2026-11' },
        ],
        ipAddress: HOME.ipAddress,
        method: 'sms',
      },
    ]);
  });

  it('is the same for a repeated request, and refused for another one with its id', async () => {
    const { record, consents, subject } = await world();
    const first = await record({ requestId: uuid });
    expect(await record({ requestId: uuid })).toEqual(first);
    await expect(record({ requestId: uuid, textVersion: '2027-01' })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    expect(await consents.list(REALM, subject)).toHaveLength(1);
  });

  it('takes the place of the one before, which stays on record as withdrawn', async () => {
    const { record, consents, subject, clock } = await world();
    const old = await record();
    clock.advance(1_000);
    const renewed = await record({ textVersion: '2027-01' });
    expect(await consents.list(REALM, subject)).toEqual([{ ...old, withdrawnAt: clock.now() }, renewed]);
  });

  it('to one method says nothing of another', async () => {
    const { record, withdraw } = await world();
    await record({ method: 'totp' });
    await expect(withdraw({ method: 'sms' })).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'CONSENT_REQUIRED',
    });
  });
});

describe('a withdrawn consent', () => {
  it('freezes the factors of the method in the same step, and leaves the others alone', async () => {
    const { world: made, stores, clock } = await world();
    const { subject } = await settle(made);
    await made.consents.withdraw(APPLICATION, { realm: REALM, subject, method: 'totp', requestId: '' });
    const held = await stores.factors.list(REALM, subject, clock.now());
    const states = held.map(({ method, freezeReason }) => [method, freezeReason]);
    expect(states).toContainEqual(['totp', 'CONSENT_WITHDRAWN']);
    expect(states.filter(([method]) => method !== 'totp').every(([, reason]) => reason === undefined)).toBe(true);
    const types = (await stores.audit.query({ realm: REALM, subject }, 2)).map(({ type, reason }) => [type, reason]);
    expect(types).toEqual([
      ['factor.frozen', 'CONSENT_WITHDRAWN'],
      ['consent.withdrawn', ''],
    ]);
  });

  it('leaves no half-made enrolment of the method', async () => {
    const { stores, clock, consents, record, subject } = await world();
    await record();
    const pending = factorOf({ realm: REALM, subject, method: 'sms', expiresAt: clock.now() + 60_000 });
    await stores.factors.begin({ factor: pending, firstOnly: true, maxFactors: 10, now: clock.now(), events: [] });
    expect(await stores.factors.list(REALM, subject, clock.now())).toHaveLength(1);
    await consents.withdraw(APPLICATION, { realm: REALM, subject, method: 'sms', requestId: '' });
    expect(await stores.factors.list(REALM, subject, clock.now())).toEqual([]);
  });

  it('is given again: the factors are thawed, but not those that were frozen for another reason', async () => {
    const { world: made, stores, clock } = await world();
    const { subject } = await settle(made);
    await made.consents.withdraw(APPLICATION, { realm: REALM, subject, method: 'totp', requestId: '' });
    const again = { realm: REALM, subject, method: 'totp', textVersion: '2', language: 'en' } as const;
    await made.consents.record(APPLICATION, { ...again, client: HOME, requestId: '' });
    const reasons = async () =>
      (await stores.factors.list(REALM, subject, clock.now())).map(({ freezeReason }) => freezeReason);
    expect(new Set(await reasons())).toEqual(new Set([undefined]));
    await stores.factors.freeze({ realm: REALM, subject, methods: ['totp'], reason: 'NOT_ME', events: [] });
    await made.consents.record(APPLICATION, { ...again, client: HOME, requestId: '' });
    expect(await reasons()).toContain('NOT_ME');
  });

  it('answers a repeat as the first time, and a second withdrawal that there is none', async () => {
    const { record, withdraw, clock } = await world();
    await record();
    const first = await withdraw({ requestId: uuid });
    expect(first.withdrawnAt).toBe(clock.now());
    clock.advance(5_000);
    expect(await withdraw({ requestId: uuid })).toEqual(first);
    await expect(withdraw()).rejects.toMatchObject({ reason: 'CONSENT_REQUIRED' });
  });

  it('opens no first enrolment: what is frozen is held all the same', async () => {
    const { world: made, stores, clock } = await world();
    const { subject } = await settle(made);
    await made.consents.withdraw(APPLICATION, { realm: REALM, subject, method: 'totp', requestId: '' });
    const held = await stores.factors.list(REALM, subject, clock.now());
    const [mine] = held;
    if (!mine) throw new Error('nothing is held');
    const begun = await stores.factors.begin({
      factor: { ...mine, id: `${mine.id.slice(0, -1)}0`, state: 'PENDING', method: 'webauthn' },
      firstOnly: true,
      maxFactors: 10,
      now: clock.now(),
      events: [],
    });
    expect(begun.outcome).toBe('not_first');
  });
});
