import { describe, expect, it } from 'vitest';
import { MINUTE } from '#src/domain/time.ts';
import { codeAt, stepAt } from '#src/domain/totp.ts';
import { decodeBase32, FactorWorld, REALM } from '../../support/factor-world.ts';

const REQUEST = '7f1b4d9e-0000-4000-8000-000000000002';

async function begunWorld(seed?: string) {
  const world = new FactorWorld({}, seed);
  const begun = await world.begin({ subject: 'ada', sessionToken: world.signIn('ada') });
  const confirm = (code: string, requestId = '') =>
    world.confirm({ subject: 'ada', factorId: begun.factor.id, code, requestId });
  const wrong = () => {
    const step = stepAt(world.clock.now());
    const near = [-1, 0, 1].map((offset) => codeAt(decodeBase32(begun.manualKey), step + offset));
    return ['000000', '111111', '222222', '333333'].find((code) => !near.includes(code)) ?? '';
  };
  return { world, begun, confirm, wrong, right: () => world.code(begun.manualKey) };
}

describe('confirming an enrolment', () => {
  it('puts the factor in use and shows ten backup codes with the first one', async () => {
    const { world, begun, confirm, right } = await begunWorld();
    const confirmed = await confirm(right());
    expect(confirmed.factor).toMatchObject({ id: begun.factor.id, state: 'ACTIVE', confirmedAt: world.clock.now() });
    expect(new Set(confirmed.backupCodes).size).toBe(10);
    const status = await world.services.status(REALM, 'ada');
    expect(status).toMatchObject({ enrolled: true, backupCodesLeft: 10, usableMethods: ['totp', 'backup_code'] });
    expect(world.eventsOf('factor.enrolled')).toMatchObject([{ factorId: begun.factor.id, method: 'totp' }]);
    expect(world.eventsOf('backup_codes.generated')).toMatchObject([{ method: 'backup_code', outcome: 'SUCCESS' }]);
    expect(world.metrics.count('proof', 'totp', 'accepted')).toBe(1);
  });

  it('stores backup codes only as salted hashes, each under its own salt', async () => {
    const { world, confirm, right } = await begunWorld();
    const { backupCodes } = await confirm(right());
    const stored = world.sql.db.serialize();
    for (const code of backupCodes) {
      expect(stored.includes(code)).toBe(false);
      expect(stored.includes(code.replaceAll('-', '').slice(3))).toBe(false);
    }
    const rows = world.sql.db.prepare('SELECT selector, salt, hash FROM backup_codes').all() as Record<
      string,
      unknown
    >[];
    expect(rows).toHaveLength(10);
    for (const column of ['selector', 'salt', 'hash']) {
      expect(new Set(rows.map((row) => String(row[column]))).size).toBe(10);
    }
    expect(world.slowHash.count).toBe(10);
  });

  it('shows no codes with a second factor', async () => {
    const { world, confirm, right } = await begunWorld();
    await confirm(right());
    const receipt = world.receiptFor('ada', { kind: 'enroll', method: 'totp' });
    const second = await world.begin({ subject: 'ada', receipt });
    const code = world.code(second.manualKey);
    expect((await world.confirm({ subject: 'ada', factorId: second.factor.id, code })).backupCodes).toEqual([]);
    expect(world.slowHash.count).toBe(10);
    expect(world.eventsOf('backup_codes.generated')).toHaveLength(1);
  });

  it('uses the confirming code up', async () => {
    const { world, begun, confirm, right } = await begunWorld();
    await confirm(right());
    const [factor] = await world.factors.list(REALM, 'ada', world.clock.now());
    expect(factor).toMatchObject({ id: begun.factor.id, lastStep: stepAt(world.clock.now()) });
  });

  it.each(['', '12345', '1234567', ' 12345', '１２３４５６', 'abcdef'])(
    'refuses %j like a wrong code, and counts it',
    async (code) => {
      const { world, confirm } = await begunWorld();
      await expect(confirm(code)).rejects.toMatchObject({
        kind: 'invalid',
        reason: 'PROOF_REFUSED',
        details: { metadata: { attemptsLeft: '4' }, violations: [{ field: 'code' }] },
      });
      expect((await world.attempts.read(REALM, 'ada')).recent).toBe(1);
      expect(world.eventsOf('factor.enrollment_refused')).toMatchObject([
        { reason: 'PROOF_REFUSED', outcome: 'REFUSED' },
      ]);
    },
  );

  it('looks at five wrong codes of many sent at once, then locks even the right one out', async () => {
    const { world, confirm, right, wrong } = await begunWorld();
    const results = await Promise.allSettled(Array.from({ length: 60 }, () => confirm(wrong())));
    const reasons = results.map((result) => (result.status === 'rejected' ? result.reason.reason : 'accepted'));
    expect(reasons.filter((reason) => reason === 'PROOF_REFUSED')).toHaveLength(5);
    expect(reasons.filter((reason) => reason === 'SUBJECT_LOCKED')).toHaveLength(55);
    expect(world.metrics.count('proof', 'totp', 'wrong')).toBe(5);
    expect(world.eventsOf('subject.locked')).toMatchObject([{ subject: 'ada', facts: { consecutive: '5' } }]);
    await expect(confirm(right())).rejects.toMatchObject({
      kind: 'limited',
      details: { retryAfterMs: 15 * MINUTE },
    });
    expect(world.lastReason('factor.enrollment_refused')).toBe('SUBJECT_LOCKED');
  });

  it('lets only so many codes of one person wait, and says so', async () => {
    const { world, confirm, wrong } = await begunWorld();
    const outcomes = await Promise.allSettled(Array.from({ length: 1_010 }, () => confirm(wrong())));
    const reasons = outcomes.map((one) => (one.status === 'rejected' ? (one.reason as { reason: string }).reason : ''));
    expect(reasons.filter((reason) => reason === 'LIMIT_EXCEEDED')).toHaveLength(9);
    expect(world.eventsOf('factor.enrollment_refused').map(({ reason }) => reason)).toContain('LIMIT_EXCEEDED');
  });

  it('gives the attempts back with a success', async () => {
    const { world, confirm, right, wrong } = await begunWorld();
    for (let i = 0; i < 4; i += 1) await confirm(wrong()).catch(() => {});
    await confirm(right());
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 0, consecutive: 0 });
  });

  it('succeeds once of a hundred parallel confirmations by one right code, and locks nobody', async () => {
    const { world, confirm, right } = await begunWorld();
    const results = await Promise.allSettled(Array.from({ length: 100 }, () => confirm(right())));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const rejected = results.filter((result) => result.status === 'rejected');
    for (const { reason } of rejected) expect(reason).toMatchObject({ reason: 'FACTOR_STATE' });
    expect(world.eventsOf('factor.enrolled')).toHaveLength(1);
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 0, lockedUntil: 0 });
  });

  it('answers repeats of a request with the same codes, and costs no attempt', async () => {
    const { world, confirm, right } = await begunWorld();
    const code = right();
    const answers = await Promise.all(Array.from({ length: 20 }, () => confirm(code, REQUEST)));
    expect(answers[0]?.backupCodes).toHaveLength(10);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    world.clock.advance(5 * MINUTE);
    expect(await confirm(code, REQUEST)).toEqual(answers[0]);
    expect(world.eventsOf('factor.enrolled')).toHaveLength(1);
    expect(await world.attempts.read(REALM, 'ada')).toMatchObject({ recent: 0 });
    expect(world.sql.db.serialize().includes(answers[0]?.backupCodes[0] ?? '')).toBe(false);
  });

  it('counts repeats of a wrong code once, and lets the id be used for nothing else', async () => {
    const { world, confirm, right, wrong } = await begunWorld();
    const code = wrong();
    for (let i = 0; i < 8; i += 1)
      await expect(confirm(code, REQUEST)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    expect((await world.attempts.read(REALM, 'ada')).recent).toBe(1);
    await expect(confirm(right(), REQUEST)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    expect(world.lastReason('factor.enrollment_refused')).toBe('REQUEST_ID_REUSED');
    await confirm(right());
    await expect(confirm(code, REQUEST)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
  });

  it('shows a repeat no codes once others have taken their place', async () => {
    const { world, confirm, right } = await begunWorld();
    const code = right();
    await confirm(code, REQUEST);
    await world.services.changes.regenerateBackupCodes(
      { roles: new Set(['application']), name: 'grpc', correlationId: '' },
      {
        realm: REALM,
        subject: 'ada',
        receipt: world.receiptFor('ada', { kind: 'regenerate' }),
        client: { ipAddress: '', userAgent: '', deviceId: '' },
        requestId: '',
      },
    );
    expect((await confirm(code, REQUEST)).backupCodes).toEqual([]);
  });

  it('ends with the time for it, to the millisecond', async () => {
    const late = await begunWorld();
    late.world.clock.advance(10 * MINUTE);
    await expect(late.confirm(late.right())).rejects.toMatchObject({ reason: 'ENROLLMENT_EXPIRED' });
    expect(late.world.lastReason('factor.enrollment_refused')).toBe('ENROLLMENT_EXPIRED');
    expect((await late.world.attempts.read(REALM, 'ada')).recent).toBe(0);
    const early = await begunWorld();
    early.world.clock.advance(10 * MINUTE - 1);
    expect((await early.confirm(early.right())).factor.state).toBe('ACTIVE');
  });

  it('is for the person who began it, and of no unknown factor', async () => {
    const { world, begun, right } = await begunWorld();
    const code = right();
    for (const [subject, factorId] of [
      ['eve', begun.factor.id],
      ['ada', 'fac_00000000000000000000000000'],
    ] as const) {
      await expect(world.confirm({ subject, factorId, code })).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
      expect(world.eventsOf('factor.enrollment_refused').at(-1)).toMatchObject({ subject, reason: 'FACTOR_NOT_FOUND' });
    }
    await expect(
      world.confirm({ realm: 'bank', subject: 'ada', factorId: begun.factor.id, code }),
    ).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
  });

  it('looks at no code of somebody else, right or wrong, and costs neither of them an attempt', async () => {
    const { world, begun, wrong } = await begunWorld();
    for (const code of [wrong(), world.code(begun.manualKey)]) {
      await expect(world.confirm({ subject: 'eve', factorId: begun.factor.id, code })).rejects.toMatchObject({
        reason: 'FACTOR_NOT_FOUND',
      });
    }
    for (const subject of ['ada', 'eve']) {
      expect(await world.attempts.read(REALM, subject)).toMatchObject({ recent: 0, consecutive: 0 });
    }
  });

  it('says of a factor in use nothing but that, whatever the code and the request id', async () => {
    const { world, confirm, right, wrong } = await begunWorld();
    await confirm(right());
    world.clock.advance(2 * MINUTE);
    for (const [code, requestId] of [
      [wrong(), ''],
      [right(), ''],
      [wrong(), REQUEST],
      [right(), REQUEST.replace(/.$/, '3')],
    ] as const) {
      await expect(confirm(code, requestId)).rejects.toMatchObject({ reason: 'FACTOR_STATE' });
    }
  });

  it('replaces the old factor at that moment and not before', async () => {
    const world = new FactorWorld();
    const old = await world.enrolled('ada');
    const receipt = world.receiptFor('ada', { kind: 'enroll', method: 'totp' });
    const begun = await world.begin({ subject: 'ada', receipt, replaces: old.factorId });
    const activeIds = async () =>
      (await world.factors.list(REALM, 'ada', world.clock.now()))
        .filter(({ method, state }) => method === 'totp' && state === 'ACTIVE')
        .map(({ id }) => id);
    expect(await activeIds()).toEqual([old.factorId]);
    await world.confirm({ subject: 'ada', factorId: begun.factor.id, code: world.code(begun.manualKey) });
    expect(await activeIds()).toEqual([begun.factor.id]);
    expect(world.eventsOf('factor.replaced')).toMatchObject([
      { factorId: old.factorId, facts: { by: begun.factor.id }, outcome: 'SUCCESS' },
    ]);
    expect((await world.services.status(REALM, 'ada')).backupCodesLeft).toBe(10);
  });

  it('fails closed with an alarm when the stored seed was swapped with another person’s', async () => {
    const { world, begun, confirm, right } = await begunWorld();
    const other = await world.begin({ subject: 'eve', sessionToken: world.signIn('eve') });
    const sealed = (await world.factors.read(REALM, other.factor.id))?.sealedSecret ?? new Uint8Array();
    world.sql.db.prepare('UPDATE factors SET sealed_secret = ? WHERE id = ?').run(sealed, begun.factor.id);
    for (const code of [right(), world.code(other.manualKey)]) {
      await expect(confirm(code)).rejects.toMatchObject({ kind: 'data-loss', reason: 'INTEGRITY' });
    }
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(2);
    expect((await world.services.status(REALM, 'ada')).enrolled).toBe(false);
  });
});
