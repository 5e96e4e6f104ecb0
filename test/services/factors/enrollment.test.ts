import { describe, expect, it } from 'vitest';
import { MINUTE } from '#src/domain/time.ts';
import { decodeBase32, FactorWorld, LAPTOP, REALM } from '../../support/factor-world.ts';
import { shippedPolicy } from '../../support/policies.ts';

const REQUEST = '7f1b4d9e-0000-4000-8000-000000000001';
const ENROLL = { kind: 'enroll', method: 'totp' } as const;

describe('beginning an enrolment', () => {
  it('answers a 160-bit seed as URI and key, stores it only sealed, and records consent', async () => {
    const world = new FactorWorld();
    const begun = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada') });
    const seed = decodeBase32(begun.manualKey);
    expect(seed).toHaveLength(20);
    expect(new URL(begun.keyUri).searchParams.get('secret')).toBe(begun.manualKey.replaceAll(' ', ''));
    expect(begun.factor).toMatchObject({ method: 'totp', state: 'PENDING', displayName: 'Phone' });
    expect(begun.expiresAt - world.clock.now()).toBe(10 * MINUTE);
    const stored = world.sql.db.serialize();
    expect(stored.includes(Buffer.from(seed))).toBe(false);
    expect(stored.includes(begun.manualKey.replaceAll(' ', ''))).toBe(false);
    expect(world.eventsOf('consent.recorded')[0]).toMatchObject({
      subject: 'ada',
      method: 'totp',
      facts: { text_version: '2026-11', language: 'en' },
    });
    expect(world.eventsOf('factor.enrollment_begun')[0]).toMatchObject({
      outcome: 'SUCCESS',
      factorId: begun.factor.id,
      ipAddress: LAPTOP.ipAddress,
      facts: { first: 'true' },
    });
  });

  it('never gives two people the same seed', async () => {
    const world = new FactorWorld();
    const seeds = new Set<string>();
    for (let i = 0; i < 200; i += 1) {
      const subject = `person-${i}`;
      seeds.add((await world.begin({ subject, sessionToken: world.signIn(subject) })).manualKey);
    }
    expect(seeds.size).toBe(200);
  });

  it('names the account after the subject without its colons, or as asked', async () => {
    const world = new FactorWorld();
    const subject = 'user:42';
    const plain = await world.begin({ subject, sessionToken: world.signIn(subject) });
    expect(decodeURIComponent(new URL(plain.keyUri).pathname)).toBe('/Acme:user-42');
    const named = await world.begin({ subject, sessionToken: world.signIn(subject), accountName: 'Ada L.' });
    expect(decodeURIComponent(new URL(named.keyUri).pathname)).toBe('/Acme:Ada L.');
    await expect(
      world.begin({ subject, sessionToken: world.signIn(subject), accountName: 'a:b' }),
    ).rejects.toMatchObject({ reason: 'FIELD_INVALID', details: { violations: [{ field: 'account_name' }] } });
  });

  it.each([
    ['no consent', { consent: undefined }, 'precondition', 'CONSENT_REQUIRED'],
    ['consent to no version', { consent: { textVersion: '', language: 'en' } }, 'precondition', 'CONSENT_REQUIRED'],
    ['consent in no language', { consent: { textVersion: '1', language: '' } }, 'precondition', 'CONSENT_REQUIRED'],
    ['backup codes', { method: 'backup_code' }, 'invalid', 'FIELD_INVALID'],
    ['a method that is switched off', { method: 'sms' }, 'precondition', 'METHOD_NOT_OFFERED'],
    ['no session', { sessionToken: '' }, 'unauthenticated', 'SESSION_INVALID'],
    ['an unknown session', { sessionToken: 'token-x' }, 'unauthenticated', 'SESSION_INVALID'],
    ['a bad receipt', { receipt: 'jwt-x' }, 'precondition', 'RECEIPT_INVALID'],
    [
      'something to replace that is not there',
      { receipt: 'jwt-x', replaces: 'fac_x' },
      'not-found',
      'FACTOR_NOT_FOUND',
    ],
  ] as const)('refuses %s and records it', async (_, over, kind, reason) => {
    const world = new FactorWorld();
    const asked = world.begin({ subject: 'ada', sessionToken: world.signIn('ada'), ...over });
    await expect(asked).rejects.toMatchObject({ kind, reason });
    expect(world.eventsOf('factor.enrollment_refused')).toMatchObject([
      { subject: 'ada', outcome: 'REFUSED', reason, realm: REALM },
    ]);
    expect(await world.factors.list(REALM, 'ada', world.clock.now())).toEqual([]);
  });

  it('refuses a method that is switched off', async () => {
    const world = new FactorWorld({ policy: shippedPolicy({ methods: ['backup_code'] }) });
    await expect(world.begin({ subject: 'ada', sessionToken: world.signIn('ada') })).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
    });
    expect(world.lastReason('factor.enrollment_refused')).toBe('METHOD_NOT_OFFERED');
  });

  it('works while MFA is switched off', async () => {
    const world = new FactorWorld({ policy: shippedPolicy({ mfaEnabled: false }) });
    expect((await world.enrolled('ada')).backupCodes).toHaveLength(10);
  });

  it('takes the first factor only from a young session of the same person', async () => {
    const world = new FactorWorld();
    await expect(world.begin({ subject: 'ada', sessionToken: world.signIn('bob') })).rejects.toMatchObject({
      kind: 'denied',
      reason: 'NOT_OWNER',
    });
    await expect(world.begin({ subject: 'ada', sessionToken: world.signIn('ada', 15 * MINUTE) })).rejects.toMatchObject(
      { reason: 'SESSION_TOO_OLD', details: { metadata: { maxAgeSeconds: '900' } } },
    );
    expect(world.lastReason('factor.enrollment_refused')).toBe('SESSION_TOO_OLD');
    await world.begin({ subject: 'ada', sessionToken: world.signIn('ada', 15 * MINUTE - 1) });
  });

  it('takes every further factor only with a receipt, and says which challenge to open', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const wanted = { metadata: { purpose: 'FACTOR_CHANGE', resource: 'factors/totp', action: 'factor.enroll' } };
    for (const sessionToken of [world.signIn('ada'), world.signIn('ada', 60 * MINUTE), '']) {
      await expect(world.begin({ subject: 'ada', sessionToken })).rejects.toMatchObject({
        kind: 'precondition',
        reason: 'STEP_UP_REQUIRED',
        details: wanted,
      });
      expect(world.lastReason('factor.enrollment_refused')).toBe('STEP_UP_REQUIRED');
    }
    const receipt = world.receiptFor('ada', ENROLL);
    expect((await world.begin({ subject: 'ada', receipt })).factor.state).toBe('PENDING');
    expect(world.eventsOf('receipt.redeemed')).toHaveLength(1);
  });

  it.each([
    ['another person', { subject: 'eve' }],
    ['another realm', { realm: 'bank' }],
    ['another audience', { audience: 'payments' }],
    ['another purpose', { purpose: 'action' }],
    ['another action', { actionDigest: 'sha-256:other' }],
    ['a weaker method', { method: 'backup_code' }],
    ['an unknown method', { method: 'carrier-pigeon' }],
  ] as const)('refuses a receipt for %s', async (_, over) => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const receipt = world.receiptFor('ada', ENROLL, over);
    await expect(world.begin({ subject: 'ada', receipt })).rejects.toMatchObject({
      kind: 'denied',
      reason: 'RECEIPT_MISMATCH',
    });
    expect(world.lastReason('factor.enrollment_refused')).toBe('RECEIPT_MISMATCH');
  });

  it('replaces only a factor of the person that is in use, and leaves the receipt good otherwise', async () => {
    const world = new FactorWorld();
    const [ada, eve] = [await world.enrolled('ada'), await world.enrolled('eve')];
    const pending = await world.begin({ subject: 'ada', receipt: world.receiptFor('ada', ENROLL) });
    const receipt = world.receiptFor('ada', ENROLL);
    for (const replaces of [eve.factorId, pending.factor.id]) {
      await expect(world.begin({ subject: 'ada', receipt, replaces })).rejects.toMatchObject({
        reason: 'FACTOR_NOT_FOUND',
      });
    }
    expect((await world.begin({ subject: 'ada', receipt, replaces: ada.factorId })).factor.state).toBe('PENDING');
  });

  it('replaces a factor only by a proof at least as strong as that factor', async () => {
    const world = new FactorWorld();
    const { factorId } = await world.enrolled('ada');
    world.sql.db.prepare("UPDATE factors SET method = 'webauthn' WHERE id = ?").run(factorId);
    const replace = (method: string) =>
      world.begin({ subject: 'ada', receipt: world.receiptFor('ada', ENROLL, { method }), replaces: factorId });
    await expect(replace('totp')).rejects.toMatchObject({ kind: 'denied', reason: 'RECEIPT_MISMATCH' });
    expect((await replace('webauthn')).factor.state).toBe('PENDING');
  });

  it('refuses a receipt that was approved without a proof, also for a first factor', async () => {
    const world = new FactorWorld();
    const receipt = world.withoutProof(world.receiptFor('ada', ENROLL));
    await expect(world.begin({ subject: 'ada', receipt })).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
  });

  it('refuses a receipt of another session than the one that is shown with it', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const receipt = world.receiptFor('ada', ENROLL, { sessionId: 'ses_other' });
    const sessionToken = world.signIn('ada');
    await expect(world.begin({ subject: 'ada', receipt, sessionToken })).rejects.toMatchObject({
      reason: 'RECEIPT_MISMATCH',
    });
    await expect(world.begin({ subject: 'ada', receipt, sessionToken: 'token-x' })).rejects.toMatchObject({
      reason: 'SESSION_INVALID',
    });
    expect((await world.begin({ subject: 'ada', receipt })).factor.state).toBe('PENDING');
  });

  it('lets a receipt begin one enrolment, of any number of parallel calls', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const receipt = world.receiptFor('ada', ENROLL);
    const results = await Promise.allSettled(
      Array.from({ length: 30 }, () => world.begin({ subject: 'ada', receipt })),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ reason: 'RECEIPT_REDEEMED' });
    }
    expect(world.lastReason('factor.enrollment_refused')).toBe('RECEIPT_REDEEMED');
    expect(world.eventsOf('receipt.redeemed')).toHaveLength(1);
  });

  it('stops at the most factors a person may have', async () => {
    const world = new FactorWorld({ maxFactors: 1 });
    await world.enrolled('ada');
    await expect(world.begin({ subject: 'ada', receipt: world.receiptFor('ada', ENROLL) })).rejects.toMatchObject({
      kind: 'limited',
      reason: 'LIMIT_EXCEEDED',
    });
    expect(world.lastReason('factor.enrollment_refused')).toBe('LIMIT_EXCEEDED');
  });

  it('answers a repeat with the same enrolment until it is confirmed, and with no seed after', async () => {
    const world = new FactorWorld();
    const command = { subject: 'ada', sessionToken: world.signIn('ada'), requestId: REQUEST };
    const first = await world.begin(command);
    expect(await world.begin(command)).toEqual(first);
    expect(world.eventsOf('factor.enrollment_begun')).toHaveLength(1);
    await expect(world.begin({ ...command, displayName: 'Other' })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    await world.confirm({ subject: 'ada', factorId: first.factor.id, code: world.code(first.manualKey) });
    const refusal = await world.begin(command).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ reason: 'FACTOR_STATE' });
    expect(world.lastReason('factor.enrollment_refused')).toBe('FACTOR_STATE');
  });

  it('answers no seed to a repeat once the enrolment has lapsed', async () => {
    const world = new FactorWorld();
    const command = { subject: 'ada', sessionToken: world.signIn('ada'), requestId: REQUEST };
    await world.begin(command);
    world.clock.advance(10 * MINUTE);
    await expect(world.begin(command)).rejects.toMatchObject({ reason: 'FACTOR_STATE' });
  });

  it('drops an older pending enrolment, whose owner then cannot confirm somebody else’s', async () => {
    const world = new FactorWorld();
    const owners = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada') });
    const thiefs = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada') });
    const code = world.code(owners.manualKey);
    await expect(world.confirm({ subject: 'ada', factorId: owners.factor.id, code })).rejects.toMatchObject({
      reason: 'FACTOR_NOT_FOUND',
    });
    await expect(world.confirm({ subject: 'ada', factorId: thiefs.factor.id, code })).rejects.toMatchObject({
      reason: 'PROOF_REFUSED',
    });
    expect((await world.services.status(REALM, 'ada')).enrolled).toBe(false);
  });

  it('does not start with an issuer that has a colon', () => {
    expect(() => new FactorWorld({ issuer: 'Acme: Shop' })).toThrow(/colon/);
  });

  it('counts a refusal that the trail cannot take as lost, and still refuses', async () => {
    const world = new FactorWorld();
    world.audit.failure = new Error('disk full');
    await expect(world.begin({ subject: 'ada' })).rejects.toMatchObject({ reason: 'SESSION_INVALID' });
    expect(world.metrics.count('eventsLost')).toBe(1);
  });
});
