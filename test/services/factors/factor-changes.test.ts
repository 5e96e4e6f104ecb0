import { describe, expect, it } from 'vitest';
import { MINUTE } from '#src/domain/time.ts';
import { APP, FactorWorld, LAPTOP, REALM } from '../../support/factor-world.ts';
import { shippedPolicy } from '../../support/policies.ts';

const REQUEST = '7f1b4d9e-0000-4000-8000-000000000003';

function remove(world: FactorWorld, factorId: string, receipt: string, requestId = '', subject = 'ada') {
  const command = { realm: REALM, subject, factorId, receipt, client: LAPTOP, requestId };
  return world.services.changes.remove(APP, command);
}

function regenerate(world: FactorWorld, receipt: string, requestId = '') {
  const command = { realm: REALM, subject: 'ada', receipt, client: LAPTOP, requestId };
  return world.services.changes.regenerateBackupCodes(APP, command);
}

async function withTwo(options = {}) {
  const world = new FactorWorld(options);
  const first = await world.enrolled('ada');
  const begun = await world.begin({
    subject: 'ada',
    receipt: world.receiptFor('ada', { kind: 'enroll', method: 'totp' }),
  });
  await world.confirm({ subject: 'ada', factorId: begun.factor.id, code: world.code(begun.manualKey) });
  return { world, first: first.factorId, second: begun.factor.id };
}

describe('removing a factor', () => {
  it('takes a receipt for this very factor', async () => {
    const { world, first, second } = await withTwo();
    await expect(remove(world, first, '')).rejects.toMatchObject({
      reason: 'STEP_UP_REQUIRED',
      details: { metadata: { resource: `factors/${first}`, action: 'factor.remove', purpose: 'FACTOR_CHANGE' } },
    });
    const forOther = world.receiptFor('ada', { kind: 'remove', factorId: second });
    await expect(remove(world, first, forOther)).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
    const weak = world.receiptFor('ada', { kind: 'remove', factorId: first }, { method: 'backup_code' });
    await expect(remove(world, first, weak)).rejects.toMatchObject({ details: { metadata: { part: 'strength' } } });
    expect(world.eventsOf('factor.change_refused').map(({ reason }) => reason)).toEqual([
      'STEP_UP_REQUIRED',
      'RECEIPT_MISMATCH',
    ]);
    await remove(world, first, world.receiptFor('ada', { kind: 'remove', factorId: first }));
    expect((await world.services.changes.list(REALM, 'ada')).map(({ id }) => id)).not.toContain(first);
    expect(world.eventsOf('factor.removed')).toMatchObject([{ factorId: first, method: 'totp', outcome: 'SUCCESS' }]);
  });

  it('is not undone by an over-age receipt', async () => {
    const { world, first } = await withTwo();
    const receipt = world.receiptFor('ada', { kind: 'remove', factorId: first });
    world.clock.advance(5 * MINUTE);
    await expect(remove(world, first, receipt)).rejects.toMatchObject({ reason: 'RECEIPT_INVALID' });
    expect(world.lastReason('factor.change_refused')).toBe('RECEIPT_INVALID');
  });

  it('leaves the last factor where the policy requires one, even when both go at once', async () => {
    const { world, first, second } = await withTwo();
    const results = await Promise.allSettled(
      [first, second].map((factorId) => remove(world, factorId, world.receiptFor('ada', { kind: 'remove', factorId }))),
    );
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(results[1]).toMatchObject({ reason: { kind: 'precondition', reason: 'LAST_FACTOR' } });
    expect(world.lastReason('factor.change_refused')).toBe('LAST_FACTOR');
    expect((await world.services.status(REALM, 'ada')).enrolled).toBe(true);
  });

  it('takes the backup codes along with the last factor where none is required, and a new start makes new ones', async () => {
    const world = new FactorWorld({ requiredMethods: [] });
    const { factorId, backupCodes } = await world.enrolled('ada');
    await remove(world, factorId, world.receiptFor('ada', { kind: 'remove', factorId }));
    expect(await world.services.changes.list(REALM, 'ada')).toEqual([]);
    const again = await world.enrolled('ada');
    expect(again.backupCodes).toHaveLength(10);
    expect(again.backupCodes.filter((code) => backupCodes.includes(code))).toEqual([]);
  });

  it('finds no factor of somebody else', async () => {
    const { world, first } = await withTwo();
    const receipt = world.receiptFor('eve', { kind: 'remove', factorId: first });
    await expect(remove(world, first, receipt, '', 'eve')).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
    expect(world.eventsOf('factor.change_refused').at(-1)).toMatchObject({
      subject: 'eve',
      reason: 'FACTOR_NOT_FOUND',
    });
    expect(await world.factors.read(REALM, first)).toBeDefined();
  });

  it('says nothing of how strong a factor of somebody else is', async () => {
    const { world, first } = await withTwo();
    const receipt = world.receiptFor('eve', { kind: 'remove', factorId: first }, { method: 'sms' });
    await expect(remove(world, first, receipt, '', 'eve')).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
    expect(world.eventsOf('factor.change_refused').at(-1)).not.toHaveProperty('method');
  });

  it('happens once of many parallel calls with one receipt', async () => {
    const { world, first } = await withTwo();
    const receipt = world.receiptFor('ada', { kind: 'remove', factorId: first });
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => remove(world, first, receipt)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(world.eventsOf('factor.removed')).toHaveLength(1);
  });

  it('answers a repeat as it did at first', async () => {
    const { world, first, second } = await withTwo();
    const receipt = world.receiptFor('ada', { kind: 'remove', factorId: first });
    await remove(world, first, receipt, REQUEST);
    await remove(world, first, receipt, REQUEST);
    expect(world.eventsOf('factor.removed')).toHaveLength(1);
    const other = world.receiptFor('ada', { kind: 'remove', factorId: second });
    await expect(remove(world, second, other, REQUEST)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
  });
});

describe('renewing backup codes', () => {
  it('voids every older code at once and shows ten new ones', async () => {
    const world = new FactorWorld();
    const { backupCodes } = await world.enrolled('ada');
    const renewed = await regenerate(world, world.receiptFor('ada', { kind: 'regenerate' }));
    expect(new Set([...backupCodes, ...renewed.backupCodes]).size).toBe(20);
    expect(renewed.factor).toMatchObject({ method: 'backup_code', state: 'ACTIVE', codesLeft: 10 });
    expect(world.sql.db.prepare('SELECT COUNT(*) AS n FROM backup_codes').get()).toEqual({ n: 10 });
    expect(world.eventsOf('backup_codes.regenerated')).toMatchObject([{ factorId: renewed.factor.id }]);
  });

  it('takes a proof by another factor than a backup code', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    await expect(regenerate(world, '')).rejects.toMatchObject({
      reason: 'STEP_UP_REQUIRED',
      details: { metadata: { resource: 'factors/backup_code', action: 'factor.regenerate' } },
    });
    const own = world.receiptFor('ada', { kind: 'regenerate' }, { method: 'backup_code' });
    await expect(regenerate(world, own)).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
    const unproven = world.withoutProof(world.receiptFor('ada', { kind: 'regenerate' }));
    await expect(regenerate(world, unproven)).rejects.toMatchObject({ details: { metadata: { part: 'no_proof' } } });
    const remove = world.receiptFor('ada', { kind: 'remove', factorId: 'backup_code' });
    await expect(regenerate(world, remove)).rejects.toMatchObject({ details: { metadata: { part: 'action' } } });
    expect(world.lastReason('factor.change_refused')).toBe('RECEIPT_MISMATCH');
  });

  it('needs a factor that the codes stand in for', async () => {
    const world = new FactorWorld();
    await expect(regenerate(world, world.receiptFor('ada', { kind: 'regenerate' }))).rejects.toMatchObject({
      reason: 'FACTOR_STATE',
    });
    expect(world.lastReason('factor.change_refused')).toBe('FACTOR_STATE');
    expect(world.slowHash.count).toBe(0);
  });

  it('makes one set of many parallel calls with one receipt', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const receipt = world.receiptFor('ada', { kind: 'regenerate' });
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => regenerate(world, receipt)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(world.lastReason('factor.change_refused')).toBe('RECEIPT_REDEEMED');
    expect(world.sql.db.prepare('SELECT COUNT(*) AS n FROM backup_codes').get()).toEqual({ n: 10 });
  });

  it('answers a repeat with the same codes, which are kept only sealed', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    const receipt = world.receiptFor('ada', { kind: 'regenerate' });
    const first = await regenerate(world, receipt, REQUEST);
    expect(await regenerate(world, receipt, REQUEST)).toEqual(first);
    expect(world.sql.db.serialize().includes(first.backupCodes[0] ?? '')).toBe(false);
    expect(world.eventsOf('backup_codes.regenerated')).toHaveLength(1);
  });
});

describe('the MFA status', () => {
  it('says what a person has, what could be enrolled, and nothing of a stranger', async () => {
    const world = new FactorWorld();
    await world.enrolled('ada');
    expect(await world.services.status(REALM, 'ada')).toEqual({
      mfaEnabled: true,
      enrolled: true,
      usableMethods: ['totp', 'backup_code'],
      availableMethods: ['totp'],
      backupCodesLeft: 10,
      hardLocked: false,
    });
    expect(await world.services.status(REALM, 'nobody')).toMatchObject({ enrolled: false, usableMethods: [] });
    expect(await world.services.status('bank', 'ada')).toMatchObject({ enrolled: false, usableMethods: [] });
  });

  it('shows a lock while it lasts, and the hard stop', async () => {
    const world = new FactorWorld({ budget: { shortAttempts: 2, shortLockMs: MINUTE, hardAttempts: 4 } });
    const begun = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada') });
    const guess = () => world.confirm({ subject: 'ada', factorId: begun.factor.id, code: 'x' }).catch(() => {});
    await guess();
    await guess();
    const locked = await world.services.status(REALM, 'ada');
    expect(locked.lockedUntil).toBe(world.clock.now() + MINUTE);
    world.clock.advance(MINUTE);
    expect(await world.services.status(REALM, 'ada')).not.toHaveProperty('lockedUntil');
    await guess();
    await guess();
    const stopped = await world.services.status(REALM, 'ada');
    expect(stopped.hardLocked).toBe(true);
    expect(stopped).not.toHaveProperty('lockedUntil');
    expect(world.eventsOf('subject.hard_locked')).toHaveLength(1);
  });

  it('does not count what does not satisfy critical actions, or is switched off', async () => {
    const world = new FactorWorld({ policy: shippedPolicy({ criticalMethods: ['webauthn'], mfaEnabled: false }) });
    await world.enrolled('ada');
    expect(await world.services.status(REALM, 'ada')).toMatchObject({ enrolled: false, mfaEnabled: false });
  });
});

describe('the trail of factors', () => {
  it('never holds a seed, a code or a receipt', async () => {
    const world = new FactorWorld();
    const begun = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada'), requestId: REQUEST });
    const { factor, manualKey, keyUri } = begun;
    const wrong = '483920';
    await world.confirm({ subject: 'ada', factorId: factor.id, code: wrong }).catch(() => {});
    const code = world.code(manualKey);
    const confirmed = await world.confirm({ subject: 'ada', factorId: factor.id, code, requestId: REQUEST });
    const receipt = world.receiptFor('ada', { kind: 'regenerate' });
    const renewed = await regenerate(world, receipt);
    await regenerate(world, receipt).catch(() => {});
    const text = JSON.stringify([world.audit.events, world.log.lines]);
    const key = manualKey.replaceAll(' ', '');
    const planted = [manualKey, key, keyUri, wrong, code, receipt, ...confirmed.backupCodes, ...renewed.backupCodes];
    expect(world.audit.events.length).toBe(8);
    for (const secret of planted) expect(text).not.toContain(secret);
  });
});
