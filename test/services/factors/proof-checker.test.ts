import { describe, expect, it } from 'vitest';
import type { Challenge, MethodOffer } from '#src/domain/challenge.ts';
import { MINUTE } from '#src/domain/time.ts';
import { codeAt, SEED_BYTES, stepAt } from '#src/domain/totp.ts';
import type { Random } from '#src/ports/runtime.ts';
import type { Proof } from '#src/services/challenges/proof.ts';
import { FactorProofChecker } from '#src/services/factors/proof-checker.ts';
import { TotpSeeds } from '#src/services/factors/totp-seeds.ts';
import { MethodRegistry } from '#src/services/methods/registry.ts';
import { totpParts } from '#src/services/methods/totp.ts';
import { APP, FactorWorld, LAPTOP, REALM } from '../../support/factor-world.ts';

const NO_CODE = '0000-0000-0000-0000';

function challengeFor(subject: string, offers: readonly MethodOffer[], realm = REALM): Challenge {
  return {
    id: 'chl_1',
    realm,
    subject,
    sessionId: '',
    openedBy: 'grpc',
    purpose: 'action',
    action: { resource: 'accounts/42', action: 'transfer.create', details: new Map() },
    actionDigest: 'sha-256:x',
    sensitivity: 'critical',
    audience: realm,
    state: 'PENDING',
    offers,
    policyRule: '',
    createdAt: 0,
    expiresAt: Number.MAX_SAFE_INTEGER,
  };
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;
}

async function worldWith(subject = 'ada') {
  const world = new FactorWorld();
  const person = await world.enrolled(subject);
  const held = await world.factors.list(REALM, subject, world.clock.now());
  const offers = held.map(({ id, method, displayName }) => ({ factorId: id, method, displayName }));
  const challenge = challengeFor(subject, offers);
  const check = (proof: Proof, over: Challenge = challenge) =>
    world.services.checker.check(over, proof, world.clock.now());
  const totp = (code: string, nextCode = ''): Proof => ({ kind: 'totp', code, nextCode });
  return { world, person, challenge, check, totp, at: (steps: number) => world.code(person.manualKey, steps) };
}

describe('checking a TOTP code', () => {
  it('finds the step of a right code in the window and nothing outside it', async () => {
    const { world, person, check, totp, at } = await worldWith();
    for (const steps of [-1, 0, 1]) {
      expect(await check(totp(at(steps)))).toEqual({
        outcome: 'right',
        claim: { kind: 'totp', factorId: person.factorId, step: stepAt(world.clock.now()) + steps, driftSteps: 0 },
        method: 'totp',
        factorId: person.factorId,
      });
    }
    for (const steps of [-3, -2, 2, 3]) expect(await check(totp(at(steps)))).toEqual({ outcome: 'wrong' });
  });

  it('takes only codes of the current step where the window is 0', async () => {
    const world = new FactorWorld({ totpWindow: 0 });
    const { factorId, manualKey } = await world.enrolled('ada');
    const challenge = challengeFor('ada', [{ factorId, method: 'totp', displayName: '' }]);
    const outcomes = [-1, 0, 1].map(async (steps) => {
      const proof = { kind: 'totp', code: world.code(manualKey, steps), nextCode: '' } as const;
      return (await world.services.checker.check(challenge, proof, world.clock.now())).outcome;
    });
    expect(await Promise.all(outcomes)).toEqual(['wrong', 'right', 'wrong']);
  });

  it('tells a used code from a wrong one', async () => {
    const { world, person, check, totp, at } = await worldWith();
    const used = stepAt(world.clock.now());
    world.sql.db.prepare('UPDATE factors SET last_step = ? WHERE id = ?').run(used, person.factorId);
    expect(await check(totp(at(0)))).toEqual({ outcome: 'replayed' });
    expect(await check(totp(at(-1)))).toEqual({ outcome: 'replayed' });
    expect(await check(totp(at(1)))).toMatchObject({ outcome: 'right' });
    expect(await check(totp(at(2)))).toEqual({ outcome: 'wrong' });
  });

  it('resynchronises a device by two consecutive codes, and a single code of it is right from then on', async () => {
    const { world, person, check, totp, at } = await worldWith();
    world.clock.advance(60 * MINUTE);
    expect(await check(totp(at(-9)))).toEqual({ outcome: 'wrong' });
    const verdict = await check(totp(at(-9), at(-8)));
    expect(verdict).toMatchObject({
      outcome: 'right',
      resynchronized: true,
      claim: { step: stepAt(world.clock.now()) - 8, driftSteps: -8 },
    });
    const step = stepAt(world.clock.now()) - 8;
    world.sql.db.prepare('UPDATE factors SET drift_steps = -8, last_step = ? WHERE id = ?').run(step, person.factorId);
    expect(await check(totp(at(-7)))).toMatchObject({ outcome: 'right', claim: { driftSteps: -8 } });
    expect(await check(totp(at(0)))).toEqual({ outcome: 'wrong' });
  });

  it('refuses consecutive codes that were used, are out of reach, or out of order', async () => {
    const { world, person, check, totp, at } = await worldWith();
    expect(await check(totp(at(22), at(23)))).toEqual({ outcome: 'wrong' });
    expect(await check(totp(at(3), at(2)))).toEqual({ outcome: 'wrong' });
    world.sql.db
      .prepare('UPDATE factors SET last_step = ? WHERE id = ?')
      .run(stepAt(world.clock.now()) + 5, person.factorId);
    expect(await check(totp(at(4), at(5)))).toEqual({ outcome: 'replayed' });
  });

  it('tries every authenticator that is offered, and none that is not', async () => {
    const { world, person, check, totp } = await worldWith();
    const receipt = world.receiptFor('ada', { kind: 'enroll', method: 'totp' });
    const second = await world.begin({ subject: 'ada', receipt });
    const code = () => totp(world.code(second.manualKey));
    const offer = (factorId: string) => ({ factorId, method: 'totp', displayName: '' }) as const;
    const both = challengeFor('ada', [offer(person.factorId), offer(second.factor.id)]);
    expect(await check(code(), both)).toEqual({ outcome: 'wrong' });
    await world.confirm({ subject: 'ada', factorId: second.factor.id, code: world.code(second.manualKey) });
    world.clock.advance(2 * MINUTE);
    expect(await check(code(), both)).toMatchObject({ outcome: 'right', factorId: second.factor.id });
    expect(await check(code(), challengeFor('ada', [offer(person.factorId)]))).toEqual({ outcome: 'wrong' });
    expect(await check(code(), challengeFor('eve', [offer(second.factor.id)]))).toEqual({ outcome: 'wrong' });
    expect(await check(code(), challengeFor('ada', [offer(second.factor.id)], 'bank'))).toEqual({ outcome: 'wrong' });
  });

  it('is wrong for somebody without a factor, whatever they send', async () => {
    const { world, check, totp } = await worldWith();
    const nobody = challengeFor('nobody', []);
    for (const code of ['000000', '', 'x', '12345６'])
      expect(await check(totp(code), nobody)).toEqual({ outcome: 'wrong' });
    expect(await check(totp('000000', '000001'), nobody)).toEqual({ outcome: 'wrong' });
    await expect(world.services.checker.imitate(totp('000000'))).resolves.toBeUndefined();
  });

  it('is wrong for somebody without a factor also by the code of the seed that stands in', async () => {
    const world = new FactorWorld();
    const { clock, factors, log, box: secrets } = world;
    const known: Random = { bytes: (length) => new Uint8Array(length).fill(7) };
    const checker = new FactorProofChecker({
      factors,
      methods: new MethodRegistry([
        totpParts({
          seeds: new TotpSeeds({ box: secrets, random: known, log }),
          issuer: 'Acme',
          totpWindow: 1,
          resyncReach: 20,
          log,
        }),
      ]),
    });
    const [code, nextCode] = [0, 1].map((steps) => codeAt(known.bytes(SEED_BYTES), stepAt(clock.now()) + steps));
    for (const next of ['', nextCode ?? '']) {
      const proof = { kind: 'totp', code: code ?? '', nextCode: next } as const;
      expect(await checker.check(challengeFor('nobody', []), proof, clock.now())).toEqual({ outcome: 'wrong' });
    }
  });

  it('takes as long for somebody without a factor as for a wrong code', async () => {
    const { challenge, check, totp } = await worldWith();
    const took = async (over: Challenge) => {
      const started = performance.now();
      await check(totp('000000'), over);
      return performance.now() - started;
    };
    const nobody = challengeFor('nobody', []);
    // One at a time and turn by turn: a pause of the machine is one of many then, and does not count.
    const [without, wrong]: [number[], number[]] = [[], []];
    for (let round = 0; round < 400; round += 1) {
      without.push(await took(nobody));
      wrong.push(await took(challenge));
    }
    const ratio = medianOf(without) / medianOf(wrong);
    expect(ratio).toBeGreaterThan(0.5);
    expect(ratio).toBeLessThan(2);
  });

  it('fails closed with an alarm when two people’s stored seeds were swapped', async () => {
    const { world, person, check, totp, at } = await worldWith();
    const eve = await world.enrolled('eve');
    const seed = async (id: string) => (await world.factors.read(REALM, id))?.sealedSecret;
    const [ours, theirs] = [await seed(person.factorId), await seed(eve.factorId)];
    const put = world.sql.db.prepare('UPDATE factors SET sealed_secret = ? WHERE id = ?');
    put.run(theirs, person.factorId);
    put.run(ours, eve.factorId);
    for (const code of [at(0), world.code(eve.manualKey)]) {
      await expect(check(totp(code))).rejects.toMatchObject({ kind: 'data-loss', reason: 'INTEGRITY' });
    }
    expect(world.log.lines.filter((line) => line.startsWith('error the stored secret'))).toHaveLength(2);
  });

  it('raises the alarm when the clock has gone back behind a used step, and lets nothing in', async () => {
    const { world, person, check, totp, at } = await worldWith();
    world.sql.db
      .prepare('UPDATE factors SET last_step = ? WHERE id = ?')
      .run(stepAt(world.clock.now()) + 100, person.factorId);
    expect(await check(totp(at(0)))).toEqual({ outcome: 'replayed' });
    expect(world.log.lines.some((line) => line.startsWith('error the clock is behind'))).toBe(true);
  });
});

describe('checking a backup code', () => {
  const backup = (code: string): Proof => ({ kind: 'backup_code', code });

  it('finds each of the ten codes, as printed or as typed', async () => {
    const { person, check } = await worldWith();
    const claims = new Set<string>();
    for (const code of person.backupCodes) {
      const verdict = await check(backup(code));
      expect(verdict).toMatchObject({ outcome: 'right', method: 'backup_code', claim: { kind: 'backup_code' } });
      expect(await check(backup(code.toUpperCase().replaceAll('-', '')))).toEqual(verdict);
      claims.add(JSON.stringify(verdict));
    }
    expect(claims.size).toBe(10);
  });

  it('costs one slow hash, whether the code is right, wrong, unknown, malformed or nobody’s', async () => {
    const { world, person, check } = await worldWith();
    const [right = ''] = person.backupCodes;
    const wrongSecret = `${right.slice(0, 3)}${right[3] === '0' ? '1' : '0'}${right.slice(4)}`;
    for (const code of [right, wrongSecret, NO_CODE, 'no code at all', '', 'x'.repeat(60)]) {
      const before = world.slowHash.count;
      expect((await check(backup(code))).outcome).toBe(code === right ? 'right' : 'wrong');
      expect(world.slowHash.count - before).toBe(1);
    }
    const before = world.slowHash.count;
    await check(backup(right), challengeFor('nobody', []));
    await world.services.checker.imitate(backup(right));
    expect(world.slowHash.count - before).toBe(2);
  });

  it('is wrong for another person, another realm, and where backup codes are not offered', async () => {
    const { person, challenge, check } = await worldWith();
    const [code = ''] = person.backupCodes;
    expect(await check(backup(code), challengeFor('eve', challenge.offers))).toEqual({ outcome: 'wrong' });
    expect(await check(backup(code), challengeFor('ada', challenge.offers, 'bank'))).toEqual({ outcome: 'wrong' });
    const totpOnly = challenge.offers.filter(({ method }) => method === 'totp');
    expect(await check(backup(code), challengeFor('ada', totpOnly))).toEqual({ outcome: 'wrong' });
  });

  it('is wrong for a code whose stored hash was moved to another person’s row', async () => {
    const { world, person, challenge, check } = await worldWith();
    const eve = await world.enrolled('eve');
    const [evesCode = ''] = eve.backupCodes;
    const row = world.sql.db
      .prepare<[string], { selector: string; salt: Buffer; hash: Buffer }>(
        `SELECT selector, salt, hash FROM backup_codes WHERE selector = ?
         AND factor_id IN (SELECT id FROM factors WHERE subject = 'eve')`,
      )
      .get(evesCode.slice(0, 3));
    const target = challenge.offers.find(({ method }) => method === 'backup_code')?.factorId;
    world.sql.db
      .prepare(
        `UPDATE backup_codes SET selector = ?, salt = ?, hash = ?
         WHERE id = (SELECT id FROM backup_codes WHERE factor_id = ? LIMIT 1)`,
      )
      .run(row?.selector, row?.salt, row?.hash, target);
    expect(await check(backup(evesCode))).toEqual({ outcome: 'wrong' });
    expect(person.backupCodes).not.toContain(evesCode);
  });

  it('lets one of thirty parallel uses of a code through, and one code is gone', async () => {
    const { world, person, challenge, check } = await worldWith();
    await world.challenges.open({ challenge, maxOpen: 10, events: [] });
    const [code = ''] = person.backupCodes;
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const own = { ...challenge, id: `chl_race_${index}` };
        await world.challenges.open({ challenge: own, maxOpen: 100, events: [] });
        const verdict = await check(backup(code), own);
        if (verdict.outcome !== 'right') return verdict.outcome;
        const approved = await world.challenges.approve({
          realm: REALM,
          challengeId: own.id,
          proof: verdict.claim,
          method: verdict.method,
          receiptId: `rcp_${index}`,
          receiptExpiresAt: world.clock.now() + MINUTE,
          now: world.clock.now(),
          events: [],
        });
        return approved.outcome;
      }),
    );
    expect(outcomes.filter((outcome) => outcome === 'approved')).toHaveLength(1);
    expect((await world.services.status(REALM, 'ada')).backupCodesLeft).toBe(9);
    expect(await check(backup(code))).toEqual({ outcome: 'wrong' });
  });

  it('is wrong for every code of a set that was renewed', async () => {
    const { world, person, check } = await worldWith();
    const renewed = await world.services.changes.regenerateBackupCodes(APP, {
      realm: REALM,
      subject: 'ada',
      receipt: world.receiptFor('ada', { kind: 'regenerate' }),
      client: LAPTOP,
      requestId: '',
    });
    const offers = [{ method: 'backup_code', factorId: renewed.factor.id, displayName: '' }] as const;
    for (const code of person.backupCodes) {
      expect(await check(backup(code), challengeFor('ada', offers))).toEqual({ outcome: 'wrong' });
    }
    expect(await check(backup(renewed.backupCodes[0] ?? ''), challengeFor('ada', offers))).toMatchObject({
      outcome: 'right',
    });
  });
});

describe('other kinds of proof', () => {
  it('are wrong, since nothing offers them yet', async () => {
    const { check } = await worldWith();
    expect(await check({ kind: 'sms', code: '123456' })).toEqual({ outcome: 'wrong' });
    expect(await check({ kind: 'webauthn', credentialJson: '{}' })).toEqual({ outcome: 'wrong' });
  });
});
