import { describe, expect, it } from 'vitest';
import { SqlSubjectStore } from '#src/adapters/sql/subject-store.ts';
import { newTemporaryPass, PASS_BYTES, passDigestInput } from '#src/domain/temporary-pass.ts';
import { HOUR, MINUTE } from '#src/domain/time.ts';
import { PASS_PURPOSE } from '#src/services/factors/temporary-passes.ts';
import { FactorWorld, REALM } from '../../support/factor-world.ts';

/** A person whom an operator has reset, with the pass in their hands. */
async function reset(subject = 'ann') {
  const world = new FactorWorld({}, `factors of ${subject}`);
  await world.enrolled(subject);
  const { printed, symbols } = newTemporaryPass(world.random.bytes(PASS_BYTES));
  const digest = world.digest.digest(PASS_PURPOSE, passDigestInput(REALM, subject, symbols));
  await new SqlSubjectStore(world.sql, { table: 'subjects' }).reset({
    realm: REALM,
    subject,
    pass: { digest, expiresAt: world.clock.now() + HOUR },
    now: world.clock.now(),
    events: [],
  });
  const begin = (temporaryPass: string) => world.begin({ subject, temporaryPass, sessionToken: world.signIn(subject) });
  return { world, printed, begin };
}

describe('the first factor of a person who was reset', () => {
  it('takes the young session and the pass, and neither alone', async () => {
    const { world, printed, begin } = await reset();
    await expect(begin('')).rejects.toMatchObject({ reason: 'PASS_REQUIRED' });
    await expect(world.begin({ subject: 'ann', temporaryPass: printed })).rejects.toMatchObject({
      reason: 'SESSION_INVALID',
    });
    const old = world.signIn('ann', HOUR);
    await expect(world.begin({ subject: 'ann', temporaryPass: printed, sessionToken: old })).rejects.toMatchObject({
      reason: 'SESSION_TOO_OLD',
    });
    const begun = await begin(printed);
    await world.confirm({ subject: 'ann', factorId: begun.factor.id, code: world.code(begun.manualKey) });
    expect(await world.factors.list(REALM, 'ann', world.clock.now())).toHaveLength(2);
  });

  it('is refused with a wrong pass, the pass of somebody else, and after its time', async () => {
    const { world, printed, begin } = await reset();
    for (const wrong of ['0000-0000-0000-0000', 'not a pass', `${printed}x`]) {
      await expect(begin(wrong)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    }
    const other = await reset('bob');
    await expect(begin(other.printed)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    world.clock.advance(HOUR);
    await expect(begin(printed)).rejects.toMatchObject({ reason: 'PROOF_REFUSED' });
    await expect(begin('')).rejects.toMatchObject({ reason: 'PASS_REQUIRED' });
  });

  it('is not there for the one who guesses: each wrong pass spends an attempt', async () => {
    const { printed, begin } = await reset();
    for (let guess = 0; guess < 5; guess += 1) await begin('0000-0000-0000-0000').catch(() => {});
    await expect(begin(printed)).rejects.toMatchObject({ reason: 'SUBJECT_LOCKED' });
  });

  it('is one: the pass is nothing to anybody afterwards', async () => {
    const { world, printed, begin } = await reset();
    const begun = await begin(printed);
    await expect(begin('')).rejects.toMatchObject({ reason: 'PASS_REQUIRED' });
    await world.confirm({ subject: 'ann', factorId: begun.factor.id, code: world.code(begun.manualKey) });
    await expect(begin(printed)).rejects.toMatchObject({ reason: 'STEP_UP_REQUIRED' });
  });

  it('is not made by the receipt of a factor from before', async () => {
    const { world } = await reset();
    const receipt = world.receiptFor('ann', { kind: 'enroll', method: 'totp' });
    await expect(world.begin({ subject: 'ann', receipt })).rejects.toMatchObject({ reason: 'PASS_REQUIRED' });
    world.clock.advance(MINUTE);
    expect(await world.factors.list(REALM, 'ann', world.clock.now())).toEqual([]);
  });
});
