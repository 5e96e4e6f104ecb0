import { describe, expect, it } from 'vitest';
import type { Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import { DAY, MINUTE, SECOND } from '#src/domain/time.ts';
import type { SendResult } from '#src/ports/senders.ts';
import type { EnrollmentInput } from '#src/services/methods/contract.ts';
import { faultOf } from '../../support/fault-of.ts';
import { APP, codeIn, enrollmentInput, NUMBER, REALM, SmsWorld } from '../../support/sms-world.ts';

function worldOf(world = new SmsWorld()) {
  const { enrollment } = world.sidecar();
  const row = (subject = 'ada') => ({ id: newId('factor', world.random.bytes(16)), realm: REALM, subject });
  /** As BeginEnrollment goes about it; the row is stored. */
  const begin = async (over: Partial<EnrollmentInput> = {}, subject = 'ada') => {
    const own = row(subject);
    const input = enrollmentInput(over);
    const { sealedSecret, displayName = '' } = await enrollment.prepare(own, input);
    const { freezeReason: _, ...factor } = world.factor(subject, NUMBER, {
      ...own,
      state: 'PENDING',
      sealedSecret,
      displayName: input.displayName || displayName,
      expiresAt: world.clock.now() + 10 * MINUTE,
    });
    await world.factors.begin({
      factor,
      consent: { id: newId('consent', world.random.bytes(16)), method: 'sms', ...CONSENT },
      firstOnly: false,
      maxFactors: 10,
      now: world.clock.now(),
      events: [],
    });
    return { factor, input };
  };
  const material = (made: { factor: Factor; input: EnrollmentInput }, repeat = false) =>
    enrollment.material(APP, made.factor, made.input, repeat);
  const check = (factor: Factor, code: string) => enrollment.check(factor, { kind: 'code', code }, world.clock.now());
  const refusal = async (over: Partial<EnrollmentInput>) =>
    (await faultOf(enrollment.prepare(row(), enrollmentInput(over)))).details.violations?.[0];
  return { world, enrollment, row, begin, material, check, refusal };
}

const CONSENT = { textVersion: '1', language: 'en', grantedAt: 0 };
const BUSY: SendResult = { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: undefined };

describe('enrolling a number', () => {
  it('normalises it, seals it into its own row, and names the factor by its end', async () => {
    const { world, enrollment, row } = worldOf();
    const own = row();
    const made = await enrollment.prepare(own, enrollmentInput({ phoneNumber: '+1 (415) 555-2671' }));
    expect(made.displayName).toBe('••••••71');
    expect(made.uniqueDigest).toBeUndefined();
    const { numbers } = world.sidecar();
    expect(numbers.open({ ...own, sealedSecret: made.sealedSecret })).toBe(NUMBER);
    const others = { ...row('eve'), sealedSecret: made.sealedSecret };
    expect(() => numbers.open(others)).toThrow('integrity');
    expect(Buffer.from(made.sealedSecret).toString('latin1')).not.toContain('4155552671');
  });

  it.each([
    ['', 'mobile number'],
    ['4155552671', 'mobile number'],
    ['+4930123456', 'mobile number'],
    ['+18005551234', 'mobile number'],
    ['+14155552671;ext=5', 'mobile number'],
    ['+491701234567', 'one of these countries: US'],
    ['+16135550132', 'one of these countries: US'],
    ['+870773111632', 'one of these countries: US'],
  ])('refuses %j and says what would do: %s', async (phoneNumber, said) => {
    const { refusal } = worldOf();
    const violation = await refusal({ phoneNumber });
    expect(violation?.field).toBe('phone_number');
    expect(violation?.description).toContain(said);
    if (phoneNumber !== '') expect(JSON.stringify(violation)).not.toContain(phoneNumber);
  });

  it('refuses a name that holds the number', async () => {
    const { refusal } = worldOf();
    for (const displayName of ['my 415-555-2671', '555 2671', '＋１４１５５５５２６７１']) {
      expect(await refusal({ displayName })).toEqual({
        field: 'display_name',
        description: 'must not hold the phone number',
      });
    }
  });

  it('sends a code to that very number, and is confirmed by it', async () => {
    const { world, begin, material, check } = worldOf();
    const made = await begin({ language: 'de-CH' });
    expect(await material(made)).toEqual({ kind: 'sms', destination: '••••••71' });
    const [message] = world.sender.asked;
    expect(message).toMatchObject({ to: NUMBER, validityMs: 10 * MINUTE });
    expect(message?.body).toMatch(/^[0-9]{6} ist Ihr Acme-Code, gültig 10 Min\./);
    const verdict = await check(made.factor, codeIn(message));
    const stored = await world.issued.read(REALM, made.factor.id, 'sms', world.clock.now());
    expect(verdict).toEqual({ outcome: 'right', proof: { kind: 'issued', digest: stored?.digest } });
  });

  it('uses the code up with the confirmation: of twenty at once one confirms', async () => {
    const { world, begin, material, check } = worldOf();
    const made = await begin();
    await material(made);
    const verdict = await check(made.factor, world.sender.code);
    if (verdict.outcome !== 'right') throw new Error('the code is right');
    const { subject, id: factorId } = made.factor;
    const confirm = () =>
      world.factors.confirm({
        ...{ realm: REALM, subject, factorId, proof: verdict.proof, now: world.clock.now() },
        ...{ events: [], replacedEvents: [], backupEvents: [] },
      });
    const outcomes = await Promise.all(Array.from({ length: 20 }, confirm));
    expect(outcomes.filter(({ outcome }) => outcome === 'confirmed')).toHaveLength(1);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'wrong' });
  });

  it.each(['', '12345', '1234567', '１２３４５６', 'abcdef'])('is not confirmed by %j', async (code) => {
    const { begin, material, check } = worldOf();
    const made = await begin();
    await material(made);
    expect(await check(made.factor, code)).toMatchObject({ outcome: 'wrong', field: 'code' });
  });

  it('is not confirmed by the code of another enrolment, of a challenge, or by another kind of proof (SMS-2)', async () => {
    const { world, enrollment, begin, material, check } = worldOf();
    const mine = await begin();
    await material(mine);
    const hers = await begin({ phoneNumber: '+14155550000' }, 'eve');
    await material(hers);
    const [myCode, herCode] = world.sender.asked.map(codeIn);
    expect(await check(mine.factor, herCode ?? '')).toMatchObject({ outcome: 'wrong' });
    expect(await check(hers.factor, myCode ?? '')).toMatchObject({ outcome: 'wrong' });
    const signed = { kind: 'push', signature: new Uint8Array(64) } as const;
    expect(await enrollment.check(mine.factor, signed, world.clock.now())).toMatchObject({ outcome: 'wrong' });
    expect(enrollment.guessable).toBe(true);
  });

  it('gives a code no longer than the enrolment lives, ten minutes at most', async () => {
    const { world, begin, material, check } = worldOf();
    const made = await begin();
    await material(made);
    world.clock.advance(10 * MINUTE - 1);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'right' });
    world.clock.advance(1);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'wrong' });
  });

  it('sends nothing a second time for a repeated request, and answers the same', async () => {
    const { world, begin, material, check } = worldOf();
    const made = await begin();
    const first = await material(made);
    expect(await material(made, true)).toEqual(first);
    await world.turn();
    expect(world.sender.asked).toHaveLength(1);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'right' });
  });

  it('is credited to its country when it is confirmed', async () => {
    const { world, begin, material, check } = worldOf();
    const credited: (readonly string[])[] = [];
    world.ledger.credit = async (_, scopes) => void credited.push(scopes);
    const made = await begin();
    await material(made);
    await check(made.factor, '000000');
    expect(credited).toEqual([]);
    await check(made.factor, world.sender.code);
    expect(credited).toEqual([['sms:verified:US']]);
  });

  it('is under the same limits as every message', async () => {
    const { world, begin, material } = worldOf();
    for (let count = 0; count < 3; count += 1) await material(await begin());
    expect(await faultOf(material(await begin()))).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(world.sender.asked).toHaveLength(3);
    const { method } = world.sidecar();
    const factor = world.factor('ada', '+14155558888');
    const challenge = await world.challenge([factor]);
    expect(await faultOf(method.prompt(APP, challenge, factor, false))).toMatchObject({ reason: 'LIMIT_EXCEEDED' });
  });
});

describe('an enrolment whose code is not sent', () => {
  it.each([
    ['OPTED_OUT', { outcome: 'rejected', reason: 'OPTED_OUT', code: '21610', config: false }],
    ['NUMBER_INVALID', { outcome: 'rejected', reason: 'NUMBER_INVALID', code: '21211', config: false }],
    ['PROVIDER_BUSY', { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: DAY }],
  ] as const)('says so at once: %s', async (reason, result) => {
    const { world, begin, material, check } = worldOf();
    world.sender.next.push(result);
    const made = await begin();
    const fault = await faultOf(material(made));
    expect(fault).toMatchObject({ kind: 'unavailable', reason: 'DELIVERY_FAILED' });
    expect(fault.details.metadata).toEqual({ reason, method: 'sms' });
    expect(fault.message).toContain('not sent');
    // Nor later: the code is void, and a repeat does not pretend.
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'wrong' });
    expect(await faultOf(material(made, true))).toMatchObject({ reason: 'DELIVERY_FAILED' });
  });

  it('says so though the store is away, and the code is void once it is back', async () => {
    const { world, begin, material, check } = worldOf();
    const provider = Promise.withResolvers<SendResult>();
    world.sender.next.push(provider.promise);
    const made = await begin();
    const fault = faultOf(material(made));
    await world.turn();
    world.sql.db.exec('ALTER TABLE issued_codes RENAME TO issued_codes_away');
    provider.resolve({ outcome: 'rejected', reason: 'OPTED_OUT', code: '21610', config: false });
    expect(await fault).toMatchObject({ reason: 'DELIVERY_FAILED' });
    world.sql.db.exec('ALTER TABLE issued_codes_away RENAME TO issued_codes');
    await world.turn(2 * SECOND);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'wrong' });
  });

  it('waits no longer than a moment for a provider that takes its time, and goes on meanwhile', async () => {
    const { world, begin, material, check } = worldOf();
    world.sender.next.push(BUSY, BUSY, BUSY);
    const made = await begin();
    const answer = material(made);
    await world.turn(2 * SECOND);
    expect(await answer).toEqual({ kind: 'sms', destination: '••••••71' });
    await world.turn(10 * SECOND);
    expect(world.sender.asked).toHaveLength(4);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'right' });
  });

  it('takes what nobody knows for sent: the code is good if it comes', async () => {
    const { world, begin, material, check } = worldOf();
    world.sender.next.push({ outcome: 'unknown', reason: 'NO_ANSWER' });
    const made = await begin();
    expect(await material(made)).toMatchObject({ kind: 'sms' });
    await world.turn(MINUTE);
    expect(world.sender.asked).toHaveLength(1);
    expect(await check(made.factor, world.sender.code)).toMatchObject({ outcome: 'right' });
  });

  it('is not tried again once another enrolment took its place', async () => {
    const { world, begin, material } = worldOf();
    world.sender.next.push({ ...BUSY, afterMs: 5_000 });
    const old = await begin();
    const first = material(old);
    await world.turn(2 * SECOND);
    await first;
    await material(await begin({ phoneNumber: '+14155550000' }));
    await world.turn(MINUTE);
    expect(world.sender.asked.map(({ to }) => to)).toEqual([NUMBER, '+14155550000']);
  });

  it('is told so, and never left waiting, when another enrolment took its place at once', async () => {
    const { world, begin, material } = worldOf();
    world.sender.next.push({ ...BUSY, afterMs: 1 });
    const waiting = faultOf(material(await begin()));
    await world.turn();
    await material(await begin({ phoneNumber: '+14155550000' }));
    await world.turn(MINUTE);
    expect(await Promise.race([waiting, Promise.resolve('still waits')])).toMatchObject({ reason: 'DELIVERY_FAILED' });
  });
});
