import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { ApproveChallenge } from '#src/ports/challenge-store.ts';
import type { MakeStores, StoreFixture } from '../support/store-fixture.ts';
import {
  beginOf,
  bytes,
  challengeOf,
  codeSetOf,
  confirmOf,
  eventOf,
  factorOf,
  id,
  person,
  REALM,
  T0,
} from '../support/store-samples.ts';

const LIMITS = { shortAttempts: 5, shortLockMs: MINUTE, hardAttempts: 100 };

/** Whose proofs an approval uses up, and how long what it left is kept. */
export function describeProofClaims(name: string, make: MakeStores): void {
  describe(`Proofs of approvals over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const open = async (fields: Partial<Challenge>) => {
      const challenge = challengeOf(fields);
      await stores.challenges.open({ challenge, maxOpen: 50, events: [] });
      return challenge;
    };
    const enrol = async (subject: string) => {
      const factor = factorOf({ subject });
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor, { backupCodes: codeSetOf(subject) }));
      return factor;
    };
    const approval = (challenge: Challenge, factor: Factor, fields: Partial<ApproveChallenge> = {}) => ({
      realm: challenge.realm,
      challengeId: challenge.id,
      proof: { kind: 'totp' as const, factorId: factor.id, step: 101, driftSteps: 0 },
      method: 'totp' as const,
      receiptId: id('receipt'),
      receiptExpiresAt: T0 + 5 * MINUTE,
      now: T0 + 2_000,
      events: [eventOf('challenge.approved', { subject: challenge.subject, challengeId: challenge.id })],
      ...fields,
    });

    it('accepts no proof of the same name in another realm', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const code = await stores.factors.findBackupCode(REALM, subject, 's1');
      const elsewhere = await open({ subject, realm: 'other' });
      const codeProof = { kind: 'backup_code' as const, factorId: code?.factorId ?? '', codeId: code?.id ?? '' };
      for (const over of [{}, { proof: codeProof, method: 'backup_code' as const }]) {
        expect(await stores.challenges.approve(approval(elsewhere, factor, over))).toEqual({ outcome: 'replayed' });
      }
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ lastStep: 100 });
      expect(await stores.factors.findBackupCode(REALM, subject, 's1')).toEqual(code);
    });

    it("spends no backup code of another person, nor one of another set than the challenge's", async () => {
      const [mine, theirs] = [person(), person()];
      await enrol(mine);
      await enrol(theirs);
      const own = await stores.factors.findBackupCode(REALM, mine, 's1');
      const foreign = await stores.factors.findBackupCode(REALM, theirs, 's1');
      const challenge = await open({ subject: mine });
      const codeId = foreign?.id ?? '';
      for (const factorId of [foreign?.factorId ?? '', own?.factorId ?? '']) {
        const proof = { kind: 'backup_code' as const, factorId, codeId };
        expect(
          await stores.challenges.approve(approval(challenge, factorOf(), { proof, method: 'backup_code' })),
        ).toEqual({ outcome: 'replayed' });
      }
      expect(await stores.factors.findBackupCode(REALM, theirs, 's1')).toEqual(foreign);
    });

    it('gives no attempts back for a proof that nobody can guess, and approves by it all the same', async () => {
      const subject = person();
      const factor = factorOf({ subject, method: 'webauthn' });
      const made = { sealedSecret: Uint8Array.of(1), uniqueDigest: bytes(32), signCount: 5 };
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor, { proof: { kind: 'made', ...made } }));
      for (let i = 0; i < 3; i += 1) {
        await stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 + 1_500 });
      }
      const proof = { kind: 'webauthn' as const, factorId: factor.id, signCount: 6, anyCounter: false };
      const approved = await stores.challenges.approve(
        approval(await open({ subject }), factor, { proof, method: 'webauthn' }),
      );
      expect(approved).toMatchObject({ outcome: 'approved', challenge: { provenMethod: 'webauthn' } });
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ recent: 3, consecutive: 3 });
    });

    it('is refused for a factor that was frozen since it was looked at', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const freeze = { realm: REALM, subject, methods: ['totp' as const], reason: 'NOT_ME' as const, events: [] };
      expect(await stores.factors.freeze(freeze)).toBe(1);
      expect(await stores.challenges.approve(approval(challenge, factor))).toEqual({ outcome: 'replayed' });
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'PENDING' });
    });

    it('keeps an approved challenge for as long as its receipt is good', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const { receiptExpiresAt, ...command } = approval(challenge, factor);
      await stores.challenges.approve({ ...command, receiptExpiresAt });
      await stores.challenges.purge(receiptExpiresAt, 10_000);
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'APPROVED' });
      await stores.challenges.purge(receiptExpiresAt + 1, 10_000);
      expect(await stores.challenges.read(REALM, challenge.id)).toBeUndefined();
    });
  });
}
