import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { ProofClaim } from '#src/ports/challenge-store.ts';
import type { IssuedCode } from '#src/ports/issued-codes.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  bytes,
  challengeOf,
  codeSetOf,
  confirmOf,
  eventOf,
  factorOf,
  id,
  issuedOf,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

/** What approvals use up: codes that were issued for them, signatures that count, and factors that are not frozen. */
export function describeMethodProofs(name: string, make: MakeStores): void {
  describe(`Proofs by SMS, push and WebAuthn over ${name}`, () => {
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
    const enrol = async (subject: string, fields: Partial<Factor> = {}) => {
      const factor = factorOf({ subject, method: 'sms', ...fields });
      expect(await stores.factors.begin(beginOf(factor))).toEqual({ outcome: 'begun' });
      const proof = { kind: 'made', sealedSecret: bytes(), uniqueDigest: bytes(), signCount: 0 } as const;
      const confirmed = await stores.factors.confirm(confirmOf(factor, { proof, backupCodes: codeSetOf(subject) }));
      expect(confirmed.outcome).toBe('confirmed');
      return factor;
    };
    const approve = ({ id: challengeId, subject }: Challenge, proof: ProofClaim, now = T0 + 2_000) =>
      stores.challenges.approve({
        realm: REALM,
        challengeId,
        proof,
        method: proof.kind === 'issued' ? proof.method : 'webauthn',
        receiptId: id('receipt'),
        receiptExpiresAt: now + 5 * MINUTE,
        now,
        events: [eventOf('challenge.approved', { subject, challengeId })],
      });
    /** A person with an SMS factor, a challenge, and a code that was sent for it. */
    const coded = async (fields: Partial<IssuedCode> = {}) => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const code = issuedOf({ subject, bearerId: challenge.id, factorId: factor.id, ...fields });
      await stores.codes.issue(code);
      const proof = { kind: 'issued', method: 'sms', factorId: factor.id, digest: code.digest } as const;
      return { subject, factor, challenge, code, proof };
    };

    it('approves by an issued code once, of 30 at the same time', async () => {
      const { challenge, proof, subject, factor } = await coded();
      const outcomes = await atOnce(30, () => approve(challenge, proof));
      expect(tally(outcomes)).toEqual({ approved: 1, ended: 29 });
      expect(await stores.codes.read(REALM, challenge.id, 'sms', T0)).toBeUndefined();
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ lastUsedAt: T0 + 2_000 });
      expect((await trailOf(stores, subject)).filter((type) => type === 'challenge.approved')).toHaveLength(1);
      expect(await approve(await open({ subject }), proof)).toEqual({ outcome: 'replayed' });
    });

    it('takes the newest code only', async () => {
      const { challenge, proof, code } = await coded();
      const newer = { ...code, digest: bytes() };
      await stores.codes.issue(newer);
      expect(await approve(challenge, proof)).toEqual({ outcome: 'replayed' });
      expect(await stores.codes.read(REALM, challenge.id, 'sms', T0)).toEqual(newer);
      expect(await approve(challenge, { ...proof, digest: newer.digest })).toMatchObject({ outcome: 'approved' });
    });

    it('changes nothing for a wrong code, of another challenge, person, factor, method, or whose time is up', async () => {
      const { challenge, proof, code, factor, subject } = await coded();
      const other = await coded();
      const [otherFactor, sameKind] = [await enrol(subject, { method: 'push' }), await enrol(subject)];
      const wrong = [
        [challenge, { ...proof, digest: bytes() }],
        [other.challenge, proof],
        [challenge, other.proof],
        [challenge, { ...proof, factorId: otherFactor.id }],
        [challenge, { ...proof, factorId: sameKind.id }],
        [challenge, { ...proof, method: 'push' }],
        [await open({ subject }), proof],
      ] as const;
      for (const [at, claim] of wrong) expect(await approve(at, claim)).toEqual({ outcome: 'replayed' });
      expect(await stores.codes.read(REALM, challenge.id, 'sms', T0)).toEqual(code);
      expect(await stores.factors.read(REALM, factor.id)).not.toHaveProperty('lastUsedAt');
      const short = await coded({ expiresAt: T0 + 2_000 });
      expect(await approve(short.challenge, short.proof)).toEqual({ outcome: 'replayed' });
      expect(await approve(short.challenge, short.proof, T0 + 1_999)).toMatchObject({ outcome: 'approved' });
    });

    it('accepts a counter that grew, from 30 at once each value once', async () => {
      const subject = person();
      const factor = await enrol(subject, { method: 'webauthn' });
      const challenges = await atOnce(30, () => open({ subject }));
      const counted = (signCount: number, anyCounter = false) =>
        ({ kind: 'webauthn', factorId: factor.id, signCount, anyCounter }) as const;
      const outcomes = await Promise.all(challenges.map((challenge) => approve(challenge, counted(7))));
      expect(tally(outcomes)).toEqual({ approved: 1, replayed: 29 });
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ signCount: 7, lastUsedAt: T0 + 2_000 });
      for (const count of [0, 6, 7]) {
        expect(await approve(await open({ subject }), counted(count))).toEqual({ outcome: 'replayed' });
      }
      expect(await approve(await open({ subject }), counted(8))).toMatchObject({ outcome: 'approved' });
      // Where it may: the highest one stays, so that the copy that is behind shows again.
      expect(await approve(await open({ subject }), counted(3, true))).toMatchObject({ outcome: 'approved' });
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ signCount: 8 });
      expect(await approve(await open({ subject }), counted(8))).toEqual({ outcome: 'replayed' });
    });

    it('accepts authenticators that never count', async () => {
      const subject = person();
      const factor = await enrol(subject, { method: 'webauthn' });
      const proof = { kind: 'webauthn', factorId: factor.id, signCount: 0, anyCounter: false } as const;
      for (let times = 0; times < 2; times += 1) {
        expect(await approve(await open({ subject }), proof)).toMatchObject({ outcome: 'approved' });
      }
      const sms = await enrol(person());
      const foreign = { ...proof, factorId: sms.id };
      expect(await approve(await open({ subject: sms.subject }), foreign)).toEqual({ outcome: 'replayed' });
    });

    it('accepts no proof of a frozen factor, of whatever kind, until it is thawed', async () => {
      const { subject, challenge, proof } = await coded();
      const totp = factorOf({ subject });
      await stores.factors.begin(beginOf(totp));
      await stores.factors.confirm(confirmOf(totp));
      const key = await enrol(subject, { method: 'webauthn' });
      const code = await stores.factors.findBackupCode(REALM, subject, 's1');
      const claims: readonly ProofClaim[] = [
        proof,
        { kind: 'totp', factorId: totp.id, step: 500, driftSteps: 0 },
        { kind: 'backup_code', factorId: code?.factorId ?? '', codeId: code?.id ?? '' },
        { kind: 'webauthn', factorId: key.id, signCount: 9, anyCounter: true },
      ];
      const freezing = { realm: REALM, subject, methods: ['sms', 'totp', 'webauthn', 'backup_code'] } as const;
      expect(await stores.factors.freeze({ ...freezing, reason: 'NOT_ME', events: [] })).toBe(4);
      for (const claim of claims) expect(await approve(challenge, claim)).toEqual({ outcome: 'replayed' });
      expect(await stores.factors.findBackupCode(REALM, subject, 's1')).toBeUndefined();
      expect(await stores.factors.thaw({ ...freezing, reason: 'NOT_ME', events: [] })).toBe(4);
      expect(await approve(challenge, proof)).toMatchObject({ outcome: 'approved' });
      for (const claim of claims.slice(1)) {
        expect(await approve(await open({ subject }), claim)).toMatchObject({ outcome: 'approved' });
      }
    });
  });
}
