import { describe, expect, it } from 'vitest';
import type { FactorChange } from '#src/domain/factor-change.ts';
import { METHODS, type Method } from '#src/domain/method.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { ReceiptClaims } from '#src/services/contracts.ts';
import type { MethodParts } from '#src/services/methods/contract.ts';
import { APP, FactorWorld, LAPTOP, REALM } from '../../support/factor-world.ts';
import { shippedPolicy } from '../../support/policies.ts';

/** One way to change what a person has: the step-up that it takes, and the call with a receipt. */
interface Path {
  readonly name: string;
  /** The method of the strongest factor that is touched. */
  readonly touches: Method;
  changeOf(victim: Victim): FactorChange;
  make(world: FactorWorld, victim: Victim, receipt: string): Promise<unknown>;
}

type Victim = Awaited<ReturnType<FactorWorld['enrolled']>>;

const PATHS: readonly Path[] = [
  {
    name: 'adding a factor',
    touches: 'totp',
    changeOf: () => ({ kind: 'enroll', method: 'totp' }),
    make: (world, { subject }, receipt) => world.begin({ subject, receipt }),
  },
  {
    name: 'replacing a factor',
    touches: 'totp',
    changeOf: () => ({ kind: 'enroll', method: 'totp' }),
    make: (world, { subject, factorId }, receipt) => world.begin({ subject, receipt, replaces: factorId }),
  },
  {
    name: 'removing a factor',
    touches: 'totp',
    changeOf: ({ factorId }) => ({ kind: 'remove', factorId }),
    make: (world, { subject, factorId }, receipt) =>
      world.services.changes.remove(APP, { realm: REALM, subject, factorId, receipt, client: LAPTOP, requestId: '' }),
  },
  {
    name: 'new backup codes',
    touches: 'backup_code',
    changeOf: () => ({ kind: 'regenerate' }),
    make: (world, { subject }, receipt) =>
      world.services.changes.regenerateBackupCodes(APP, {
        realm: REALM,
        subject,
        receipt,
        client: LAPTOP,
        requestId: '',
      }),
  },
];

/** What an attacker brings in place of the receipt of a step-up for this change. */
const ATTACKS: readonly {
  readonly name: string;
  readonly reason: string;
  receipt(world: FactorWorld, victim: Victim, change: FactorChange): string;
}[] = [
  { name: 'a stolen session alone', reason: 'STEP_UP_REQUIRED', receipt: () => '' },
  {
    name: 'the handle of a challenge that nobody has answered',
    reason: 'RECEIPT_INVALID',
    receipt: () => 'chl_0123456789abcdefghjkmnpqrs',
  },
  ...forged('the receipt of another change', () => ({ actionDigest: 'sha-256:another' })),
  ...forged('the receipt of another person', () => ({ subject: 'mallory' })),
  ...forged('the receipt of another realm', () => ({ realm: 'bank', audience: 'bank' })),
  ...forged('a receipt for another audience', () => ({ audience: 'payments' })),
  ...forged('the receipt of a login', () => ({ purpose: 'login' })),
  ...forged('the receipt of an action', () => ({ purpose: 'action' })),
  ...forged('the receipt that raised a session', () => ({ purpose: 'step_up' })),
  ...forged('a receipt proven by a backup code', () => ({ method: 'backup_code', amr: ['kba', 'mfa'] })),
  {
    name: 'a receipt that was approved since MFA is off',
    reason: 'RECEIPT_MISMATCH',
    receipt: (world, { subject }, change) => world.withoutProof(world.receiptFor(subject, change)),
  },
  {
    name: 'a receipt that was approved since the device is trusted',
    reason: 'RECEIPT_MISMATCH',
    receipt: (world, { subject }, change) =>
      world.withoutProof(world.receiptFor(subject, change, { approvalReason: 'TRUSTED_DEVICE' })),
  },
  {
    name: 'a receipt whose time is up',
    reason: 'RECEIPT_INVALID',
    receipt: (world, { subject }, change) => world.receiptFor(subject, change, { expiresAt: world.clock.now() }),
  },
];

function forged(name: string, over: () => Partial<ReceiptClaims>): typeof ATTACKS {
  return [
    {
      name,
      reason: 'RECEIPT_MISMATCH',
      receipt: (world, { subject }, change) => world.receiptFor(subject, change, over()),
    },
  ];
}

/** Two factors, so that none is the last one. */
async function victimOf(world: FactorWorld): Promise<Victim> {
  const victim = await world.enrolled('ann');
  const receipt = world.receiptFor('ann', { kind: 'enroll', method: 'totp' });
  const second = await world.begin({ subject: 'ann', receipt });
  await world.confirm({ subject: 'ann', factorId: second.factor.id, code: world.code(second.manualKey) });
  world.clock.advance(2 * MINUTE);
  return victim;
}

const heldBy = (world: FactorWorld) => world.factors.list(REALM, 'ann', world.clock.now());

describe.each(PATHS)('$name', (path) => {
  it.each(ATTACKS)('is refused with $name, and nothing changes', async ({ reason, receipt }) => {
    const world = new FactorWorld();
    const victim = await victimOf(world);
    const before = await heldBy(world);
    const brought = receipt(world, victim, path.changeOf(victim));
    await expect(path.make(world, victim, brought)).rejects.toMatchObject({ reason });
    expect(await heldBy(world)).toEqual(before);
    const refused = [...world.eventsOf('factor.change_refused'), ...world.eventsOf('factor.enrollment_refused')];
    expect(refused).toMatchObject([{ subject: 'ann', outcome: 'REFUSED', reason }]);
  });

  it('is permitted once by the receipt of its own step-up', async () => {
    const world = new FactorWorld();
    const victim = await victimOf(world);
    const receipt = world.receiptFor('ann', path.changeOf(victim));
    await path.make(world, victim, receipt);
    const after = await heldBy(world);
    await expect(path.make(world, victim, receipt)).rejects.toMatchObject({
      reason: expect.stringMatching(/^(RECEIPT_REDEEMED|FACTOR_NOT_FOUND)$/),
    });
    expect(await heldBy(world)).toEqual(after);
  });

  it('is permitted to one of many who bring the same receipt at once', async () => {
    const world = new FactorWorld();
    const victim = await victimOf(world);
    const receipt = world.receiptFor('ann', path.changeOf(victim));
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => path.make(world, victim, receipt)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(world.eventsOf('receipt.redeemed')).toHaveLength(2);
  });
});

/** Takes every passkey: what is looked at here is the proof that permits to enrol one. */
const PASSKEYS: MethodParts = {
  challenge: {
    method: 'webauthn',
    prompt: () => Promise.reject(new Error('nobody is challenged here')),
    check: () => Promise.reject(new Error('nobody is challenged here')),
    imitate: () => Promise.resolve(),
  },
  enrollment: {
    method: 'webauthn',
    guessable: false,
    prepare: async () => ({ sealedSecret: new Uint8Array() }),
    material: async () => ({ kind: 'webauthn', optionsJson: '{}' }),
    check: async ({ id }) => ({
      outcome: 'right',
      proof: { kind: 'made', sealedSecret: new Uint8Array(1), uniqueDigest: Buffer.from(id), signCount: 0 },
    }),
  },
};

describe('a proof that permits to add a factor', () => {
  const add = (world: FactorWorld, method: Method, by: Method) => {
    const receipt = world.receiptFor('ann', { kind: 'enroll', method }, { method: by });
    return world.beginAny({ subject: 'ann', method, receipt });
  };

  it.each([
    ['sms', 'totp'],
    ['backup_code', 'totp'],
  ] as const)('is not one by %s where the person has an authenticator', async (by, method) => {
    const world = new FactorWorld();
    await world.enrolled('ann');
    await expect(add(world, method, by)).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
  });

  it('needs to be no stronger than the strongest factor that the person has', async () => {
    const world = new FactorWorld({ parts: [PASSKEYS], policy: { ...shippedPolicy(), methods: METHODS } });
    await world.enrolled('ann');
    await expect(add(world, 'webauthn', 'sms')).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
    const { factor } = await add(world, 'webauthn', 'totp');
    await world.confirmAny({ subject: 'ann', factorId: factor.id, proof: { kind: 'webauthn', credentialJson: '{}' } });
    await expect(add(world, 'webauthn', 'totp')).rejects.toMatchObject({ reason: 'RECEIPT_MISMATCH' });
    expect((await add(world, 'totp', 'totp')).factor.method).toBe('totp');
  });
});

it('does not let a session that is stolen later enrol a first factor again', async () => {
  const world = new FactorWorld();
  const victim = await victimOf(world);
  for (const age of [0, 60 * MINUTE]) {
    const sessionToken = world.signIn(victim.subject, age);
    await expect(world.begin({ subject: victim.subject, sessionToken })).rejects.toMatchObject({
      reason: 'STEP_UP_REQUIRED',
    });
  }
  const mallory = world.signIn('mallory');
  await expect(world.begin({ subject: victim.subject, sessionToken: mallory })).rejects.toMatchObject({
    reason: 'NOT_OWNER',
  });
});

it('does not let somebody else’s first enrolment be confirmed after the person’s own', async () => {
  const world = new FactorWorld();
  const theirs = await world.begin({ subject: 'ann', sessionToken: world.signIn('ann') });
  const own = await world.begin({ subject: 'ann', sessionToken: world.signIn('ann') });
  await world.confirm({ subject: 'ann', factorId: own.factor.id, code: world.code(own.manualKey) });
  world.clock.advance(MINUTE);
  const late = { subject: 'ann', factorId: theirs.factor.id, code: world.code(theirs.manualKey) };
  await expect(world.confirm(late)).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
  expect(await heldBy(world)).toHaveLength(2);
});
