import { describe, expect, it } from 'vitest';
import { putPass } from '#src/adapters/sql/temporary-passes.ts';
import type { Caller } from '#src/domain/caller.ts';
import { consentBinding, type Factor } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { newTemporaryPass, PASS_BYTES, passDigestInput } from '#src/domain/temporary-pass.ts';
import { MINUTE } from '#src/domain/time.ts';
import { PASS_PURPOSE } from '#src/services/factors/temporary-passes.ts';
import type {
  EnrollmentInput,
  EnrollmentMaterial,
  EnrollmentMethod,
  EnrollmentProof,
  EnrollmentVerdict,
  PreparedFactor,
} from '#src/services/methods/contract.ts';
import { FactorWorld, REALM } from '../../support/factor-world.ts';
import { MemoryIssuedCodes } from '../../support/memory-issued-codes.ts';
import { shippedPolicy } from '../../support/policies.ts';
import { RecordedMethod } from '../../support/recorded-methods.ts';

const REQUEST = '7f1b4d9e-0000-4000-8000-000000000001';

/** A key whose signature confirms it, or a code that somebody could guess. */
class ScriptedEnrollment implements EnrollmentMethod {
  readonly method: 'webauthn' | 'sms';
  readonly guessable: boolean;
  readonly repeats: boolean[] = [];
  readonly inputs: EnrollmentInput[] = [];
  /** What nobody else may have. */
  uniqueDigest = Uint8Array.of(1, 2, 3);
  prepared: Partial<PreparedFactor> = {};
  failure: Error | undefined;

  constructor(method: 'webauthn' | 'sms') {
    this.method = method;
    this.guessable = method === 'sms';
  }

  async prepare(_row: unknown, input: EnrollmentInput): Promise<PreparedFactor> {
    if (this.failure) throw this.failure;
    this.inputs.push(input);
    return { sealedSecret: new Uint8Array(), ...this.prepared };
  }

  async material(
    _caller: Caller,
    _factor: Factor,
    _input: EnrollmentInput,
    repeat: boolean,
  ): Promise<EnrollmentMaterial> {
    this.repeats.push(repeat);
    return this.method === 'sms'
      ? { kind: 'sms', destination: '+1 *** 42' }
      : { kind: 'webauthn', optionsJson: '{"challenge":"x"}' };
  }

  async check(_factor: Factor, proof: EnrollmentProof): Promise<EnrollmentVerdict> {
    const right =
      proof.kind === 'webauthn' ? proof.credentialJson === 'right' : proof.kind === 'code' && proof.code === '1';
    const { uniqueDigest } = this;
    if (right)
      return { outcome: 'right', proof: { kind: 'made', sealedSecret: Uint8Array.of(7), uniqueDigest, signCount: 4 } };
    return { outcome: 'wrong', field: 'webauthn_credential_json', description: 'is not signed by the key' };
  }
}

function worldWith(method: 'webauthn' | 'sms' = 'webauthn') {
  const enrollment = new ScriptedEnrollment(method);
  const world = new FactorWorld({
    policy: shippedPolicy({ methods: ['totp', 'sms', 'webauthn', 'backup_code'] }),
    parts: [
      {
        challenge: new RecordedMethod(method, new MemoryIssuedCodes()),
        enrollment,
        ...(method === 'sms' ? { mask: () => '+1 *** 42' } : {}),
      },
    ],
  });
  const begin = (subject = 'ada', over: Parameters<FactorWorld['beginAny']>[0] | object = {}) =>
    world.beginAny({ subject, method, sessionToken: world.signIn(subject), ...over });
  const confirm = (factorId: string, credentialJson: string, subject = 'ada', requestId = '') =>
    world.confirmAny({ subject, factorId, proof: { kind: 'webauthn', credentialJson }, requestId });
  return { world, enrollment, begin, confirm };
}

describe('an enrolment of any method', () => {
  it('begins with what the method makes of the request, and answers its material', async () => {
    const { enrollment, begin } = worldWith();
    const begun = await begin('ada', {
      phoneNumber: '+46',
      pushSubscriptionJson: '{}',
      language: 'sv',
      displayName: 'Key',
    });
    expect(begun).toMatchObject({
      factor: { method: 'webauthn', state: 'PENDING', displayName: 'Key' },
      material: { kind: 'webauthn', optionsJson: '{"challenge":"x"}' },
    });
    expect(enrollment.inputs).toMatchObject([
      { phoneNumber: '+46', pushSubscriptionJson: '{}', language: 'sv', displayName: 'Key', accountName: 'ada' },
    ]);
  });

  it('has the name that the method gives it where the person gave none, and is masked in answers', async () => {
    const { world, enrollment, begin } = worldWith('sms');
    enrollment.prepared = { displayName: 'phone ending in 42' };
    expect((await begin('ada', { displayName: '' })).factor).toMatchObject({
      displayName: 'phone ending in 42',
      maskedNumber: '+1 *** 42',
    });
    expect(await world.services.changes.list(REALM, 'ada')).toMatchObject([{ maskedNumber: '+1 *** 42' }]);
  });

  it('tells the method that a request is a repeat, so that nothing is sent twice', async () => {
    const { world, enrollment, begin } = worldWith('sms');
    const sessionToken = world.signIn('ada');
    const first = await begin('ada', { sessionToken, requestId: REQUEST });
    expect(await begin('ada', { sessionToken, requestId: REQUEST })).toEqual(first);
    expect(enrollment.repeats).toEqual([false, true]);
  });

  it('is refused with an event for input that the method does not take', async () => {
    const { world, enrollment, begin } = worldWith('sms');
    enrollment.failure = new Fault('invalid', 'FIELD_INVALID', 'phone_number: is no number');
    await expect(begin()).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    expect(world.lastReason('factor.enrollment_refused')).toBe('FIELD_INVALID');
    expect(await world.factors.list(REALM, 'ada', world.clock.now())).toEqual([]);
  });

  it('is confirmed by a signature, which stores what was made and spends nothing, however often it is wrong', async () => {
    const { world, begin, confirm } = worldWith();
    const { factor } = await begin();
    for (let i = 0; i < 12; i += 1) {
      await expect(confirm(factor.id, 'forged')).rejects.toMatchObject({
        reason: 'PROOF_REFUSED',
        details: { metadata: { field: 'webauthn_credential_json' } },
      });
    }
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 0, consecutive: 0 });
    const confirmed = await confirm(factor.id, 'right');
    expect(confirmed.factor).toMatchObject({ state: 'ACTIVE' });
    expect(confirmed.backupCodes).toHaveLength(10);
    expect(await world.factors.read(REALM, factor.id)).toMatchObject({ sealedSecret: Uint8Array.of(7), signCount: 4 });
    expect(world.metrics.count('proof', 'webauthn', 'accepted')).toBe(1);
  });

  it('is confirmed by a signature also while the person is locked', async () => {
    const { world, begin, confirm } = worldWith();
    const { factor } = await begin();
    const limits = { shortAttempts: 1, shortLockMs: MINUTE, hardAttempts: 100 };
    await world.attempts.spend({ realm: REALM, subject: 'ada', limits, now: world.clock.now() });
    expect((await confirm(factor.id, 'right')).factor.state).toBe('ACTIVE');
  });

  it('is confirmed by a code only at the price of an attempt', async () => {
    const { world, begin } = worldWith('sms');
    const { factor } = await begin();
    const wrong = () => world.confirm({ subject: 'ada', factorId: factor.id, code: '2' });
    for (let i = 0; i < 5; i += 1) await expect(wrong()).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    await expect(wrong()).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
  });

  it('answers a repeated confirmation from the first, and takes no other proof under its request id', async () => {
    const { begin, confirm } = worldWith();
    const { factor } = await begin();
    const first = await confirm(factor.id, 'right', 'ada', REQUEST);
    expect(await confirm(factor.id, 'right', 'ada', REQUEST)).toEqual(first);
    await expect(confirm(factor.id, 'forged', 'ada', REQUEST)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });

  it('is refused for a credential that somebody else has', async () => {
    const { world, begin, confirm } = worldWith();
    const anns = await begin('ann');
    await confirm(anns.factor.id, 'right', 'ann');
    const eves = await begin('eve');
    await expect(confirm(eves.factor.id, 'right', 'eve')).rejects.toMatchObject({
      kind: 'exists',
      reason: 'FACTOR_EXISTS',
    });
    expect(world.lastReason('factor.enrollment_refused')).toBe('FACTOR_EXISTS');
    expect((await world.services.status(REALM, 'eve')).enrolled).toBe(false);
  });
});

describe('consent', () => {
  it('keeps the address it was given from, sealed to its own row', async () => {
    const { world, begin } = worldWith();
    await begin();
    const row = world.sql.db.prepare('SELECT id, sealed_address FROM consents').get() as {
      readonly id: string;
      readonly sealed_address: Uint8Array;
    };
    expect(Buffer.from(row.sealed_address).toString('latin1')).not.toContain('203.0.113.7');
    const opened = world.box.open(row.sealed_address, consentBinding(REALM, 'ada', row.id));
    expect(Buffer.from(opened).toString()).toBe('203.0.113.7');
  });

  it('that stands need not be given again, and counts for its own method alone', async () => {
    const { world, begin } = worldWith();
    await begin();
    expect((await begin('ada', { consent: undefined })).factor.state).toBe('PENDING');
    expect(world.eventsOf('consent.recorded')).toHaveLength(1);
    const other = world.begin({ subject: 'ada', sessionToken: world.signIn('ada'), consent: undefined });
    await expect(other).rejects.toMatchObject({ reason: 'CONSENT_REQUIRED' });
    expect(world.lastReason('factor.enrollment_refused')).toBe('CONSENT_REQUIRED');
  });
});

describe('a person who was reset', () => {
  /** As an operator does it; the pass as printed. */
  async function reset(world: FactorWorld, lifeMs = MINUTE): Promise<string> {
    const { printed, symbols } = newTemporaryPass(world.random.bytes(PASS_BYTES));
    const digest = world.digest.digest(PASS_PURPOSE, passDigestInput(REALM, 'ada', symbols));
    await world.sql.unit((tx) => putPass(tx, REALM, 'ada', { digest, expiresAt: world.clock.now() + lifeMs }));
    return printed;
  }

  it('begins with the pass, however it is typed, and has used it up with the first factor', async () => {
    const { world, begin, confirm } = worldWith();
    const pass = await reset(world);
    await expect(begin()).rejects.toMatchObject({ kind: 'precondition', reason: 'PASS_REQUIRED' });
    const { factor } = await begin('ada', { temporaryPass: pass.toUpperCase() });
    expect((await confirm(factor.id, 'right')).factor.state).toBe('ACTIVE');
    expect(world.sql.db.prepare('SELECT COUNT(*) AS n FROM temporary_passes').get()).toEqual({ n: 0 });
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 0 });
  });

  it('spends an attempt for each pass before it is compared, and is locked after five wrong ones', async () => {
    const { world, begin } = worldWith();
    const pass = await reset(world);
    for (let i = 0; i < 5; i += 1) {
      await expect(begin('ada', { temporaryPass: `${i}000-0000-0000-0000` })).rejects.toMatchObject({
        kind: 'invalid',
        reason: 'PROOF_REFUSED',
        details: { violations: [{ field: 'temporary_pass' }] },
      });
    }
    expect(world.eventsOf('subject.locked')).toHaveLength(1);
    await expect(begin('ada', { temporaryPass: pass })).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
    expect(world.eventsOf('factor.enrollment_begun')).toEqual([]);
  });

  it('is not let in by text that is no pass, an old one, or that of somebody else', async () => {
    const { world, begin } = worldWith();
    const pass = await reset(world, MINUTE);
    for (const temporaryPass of ['x', ` ${pass}`]) {
      await expect(begin('ada', { temporaryPass })).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    }
    world.clock.advance(MINUTE);
    await expect(begin('ada', { temporaryPass: pass })).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
  });

  it('spends one attempt for a request that is sent again and again', async () => {
    const { world, begin } = worldWith();
    const pass = await reset(world);
    const command = { sessionToken: world.signIn('ada'), requestId: REQUEST };
    for (let i = 0; i < 7; i += 1) {
      await expect(begin('ada', { ...command, temporaryPass: '0000-0000-0000-0000' })).rejects.toMatchObject({
        reason: 'PROOF_REFUSED',
      });
    }
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 1 });
    await expect(begin('ada', { ...command, temporaryPass: pass })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    const requestId = newId('event', world.random.bytes(16));
    const right = { sessionToken: command.sessionToken, requestId, temporaryPass: pass };
    const first = await begin('ada', right);
    expect(await begin('ada', right)).toEqual(first);
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 2 });
  });
});
