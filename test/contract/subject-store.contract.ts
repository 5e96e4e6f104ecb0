import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FRESH_BUDGET } from '#src/domain/failure-budget.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { EraseSubject, ResetSubject } from '#src/ports/subject-store.ts';
import { eventually } from '../support/eventually.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  bytes,
  challengeOf,
  claimOf,
  codeSetOf,
  confirmOf,
  createOf,
  deviceOf,
  digest,
  eventOf,
  factorOf,
  issuedOf,
  LIMITS,
  person,
  REALM,
  sessionOf,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeSubjectStore(name: string, make: MakeStores): void {
  describe(`SubjectStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    /** Somebody with something in every store. */
    const somebody = async () => {
      const subject = person();
      const factor = factorOf({ subject });
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor, { backupCodes: codeSetOf(subject) }));
      await stores.factors.begin(beginOf(factorOf({ subject, method: 'sms' })));
      await stores.devices.trust({ device: deviceOf({ subject }), maxDevices: 5, now: T0, events: [] });
      const challenge = challengeOf({ subject });
      const request = claimOf({ seed: Buffer.from(challenge.id) });
      await stores.challenges.open({ challenge, maxOpen: 5, events: [], request });
      await stores.codes.issue(issuedOf({ subject, bearerId: challenge.id }));
      await atOnce(2, () => stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 }));
      const session = sessionOf({ subject });
      await stores.sessions.create(createOf(session));
      return { subject, factor, challenge, session, request };
    };
    const resetOf = (subject: string, fields: Partial<ResetSubject> = {}): ResetSubject => ({
      realm: REALM,
      subject,
      pass: { digest: bytes(), expiresAt: T0 + 10 * MINUTE },
      now: T0 + 5,
      events: [eventOf('subject.reset', { subject })],
      ...fields,
    });
    const eraseOf = (subject: string, fields: Partial<EraseSubject> = {}): EraseSubject => ({
      realm: REALM,
      subject,
      mark: `mark ${digest()}`,
      now: T0 + 5,
      events: [eventOf('subject.erased', { subject })],
      ...fields,
    });
    const erasures = async () => await stores.subjects.erasuresAfter(0, 1_000);

    it('resets a person: no factor, device, open challenge, code or lock is left, and one pass is there', async () => {
      const { subject, challenge } = await somebody();
      const bystander = await somebody();
      const first = resetOf(subject);
      expect(await stores.subjects.reset(first)).toEqual({ outcome: 'reset', factors: 2, devices: 1 });
      expect(await stores.factors.list(REALM, subject, T0)).toEqual([]);
      expect(await stores.factors.findBackupCode(REALM, subject, 's1')).toBeUndefined();
      expect(await stores.devices.list(REALM, subject, T0)).toEqual([]);
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'CANCELLED' });
      expect(await stores.codes.read(REALM, challenge.id, 'sms', T0)).toBeUndefined();
      expect(await stores.attempts.read(REALM, subject)).toEqual(FRESH_BUDGET);
      const second = resetOf(subject);
      expect(await stores.subjects.reset(second)).toEqual({ outcome: 'reset', factors: 0, devices: 0 });
      stores = await stores.restart();
      expect(await stores.subjects.pass(REALM, subject)).toEqual(second.pass);
      expect(await stores.subjects.pass('other', subject)).toBeUndefined();
      expect((await trailOf(stores, subject)).filter((type) => type === 'subject.reset')).toHaveLength(2);
      expect(await stores.factors.list(REALM, bystander.subject, T0)).toHaveLength(3);
      expect(await stores.devices.list(REALM, bystander.subject, T0)).toHaveLength(1);
      expect(await stores.challenges.read(REALM, bystander.challenge.id)).toMatchObject({ state: 'PENDING' });
      expect(await stores.subjects.pass(REALM, bystander.subject)).toBeUndefined();
    });

    it('resets once for a request that comes ten times', async () => {
      const request = claimOf();
      const command = resetOf(person(), { request });
      const outcomes = await atOnce(10, () => stores.subjects.reset(command));
      expect(tally(outcomes)).toEqual({ reset: 1, repeat: 9 });
      expect(await stores.subjects.known(request, T0)).toEqual({ outcome: 'repeat', seed: request.seed });
      expect(await stores.subjects.known({ ...request, fingerprint: 'other' }, T0)).toEqual({ outcome: 'reused' });
      expect(await stores.subjects.known(claimOf(), T0)).toBeUndefined();
    });

    it('lets no approval outlive a reset that comes at the same time', async () => {
      for (let round = 0; round < 5; round += 1) {
        const { subject, factor, challenge } = await somebody();
        const approve = stores.challenges.approve({
          realm: REALM,
          challengeId: challenge.id,
          proof: { kind: 'totp', factorId: factor.id, step: 900, driftSteps: 0 },
          method: 'totp',
          receiptId: digest(),
          receiptExpiresAt: T0 + MINUTE,
          now: T0 + 5,
          events: [],
        });
        const [approved] = await Promise.all([approve, stores.subjects.reset(resetOf(subject))]);
        expect(['approved', 'ended', 'replayed']).toContain(approved.outcome);
        const { state } = (await stores.challenges.read(REALM, challenge.id)) ?? {};
        expect(state).toBe(approved.outcome === 'approved' ? 'APPROVED' : 'CANCELLED');
      }
    });

    it('leaves no receipt that was approved before a reset or an erasure', async () => {
      for (const end of [
        (subject: string) => stores.subjects.reset(resetOf(subject)),
        (subject: string) => stores.subjects.erase(eraseOf(subject)),
      ]) {
        const { subject, factor, challenge } = await somebody();
        const receipt = burnOf();
        const approved = await stores.challenges.approve({
          realm: REALM,
          challengeId: challenge.id,
          proof: { kind: 'totp', factorId: factor.id, step: 900, driftSteps: 0 },
          method: 'totp',
          receiptId: receipt.receiptId,
          receiptExpiresAt: receipt.expiresAt,
          now: T0,
          events: [],
        });
        expect(approved.outcome).toBe('approved');
        await end(subject);
        const change = createOf(sessionOf({ subject }), { receipt });
        expect(await stores.sessions.create(change)).toEqual({ outcome: 'receipt_spent' });
      }
    });

    it('erases a person from every store, and nobody else', async () => {
      const { subject, challenge, session, request } = await somebody();
      const bystander = await somebody();
      await stores.subjects.reset(resetOf(subject));
      const consents = await stores.consents.list(REALM, subject);
      expect(consents.length).toBeGreaterThan(0);
      const command = eraseOf(subject);
      expect(await stores.subjects.erase(command)).toEqual({ outcome: 'erased', factors: 0, sessions: 1, devices: 0 });
      expect(await stores.challenges.read(REALM, challenge.id)).toBeUndefined();
      expect(await stores.consents.list(REALM, subject)).toEqual([]);
      expect(await stores.subjects.pass(REALM, subject)).toBeUndefined();
      expect(await stores.subjects.known(request, T0)).toBeUndefined();
      expect(await stores.sessions.read(REALM, session.id)).toBeUndefined();
      // It was not ended before: where there are copies, they go by the log of changes.
      const copy = () => stores.sessions.findByTokenDigest(REALM, session.tokenDigest);
      await eventually('no copy is believed', async () => (await copy()) === undefined, 2_000);
      expect(await stores.records.devices(REALM, subject)).toEqual([]);
      expect(await stores.records.notices(REALM, subject)).toEqual([]);
      // Whoever has a copy of the session hears that it is over, and no name.
      const { entries } = await stores.sessions.revocationsAfter(REALM, 0, 1_000);
      expect(entries.find(({ sessionId }) => sessionId === session.id)).toMatchObject({
        subject: '',
        reason: 'ERASED',
      });
      expect(entries.some((entry) => entry.subject === subject)).toBe(false);
      expect(await stores.factors.list(REALM, bystander.subject, T0)).toHaveLength(3);
      expect(await stores.challenges.read(REALM, bystander.challenge.id)).toEqual(bystander.challenge);
      expect(await stores.sessions.read(REALM, bystander.session.id)).toEqual(bystander.session);
      expect(await stores.subjects.known(bystander.request, T0)).toMatchObject({ outcome: 'repeat' });
      expect((await erasures()).filter(({ subjectRef }) => subjectRef === command.mark)).toHaveLength(1);
    });

    it('counts what is gone, and takes the lock and the name of ended sessions with it', async () => {
      const { subject, session } = await somebody();
      const end = { realm: REALM, target: { kind: 'ids', sessionIds: [session.id] }, now: T0 + 1 } as const;
      await stores.sessions.end({ ...end, reason: 'ERASED', event: eventOf('session.ended', { subject }) });
      expect(await stores.subjects.erase(eraseOf(subject))).toEqual({
        outcome: 'erased',
        factors: 2,
        sessions: 0,
        devices: 1,
      });
      expect(await stores.attempts.read(REALM, subject)).toEqual(FRESH_BUDGET);
      const { entries } = await stores.sessions.changesAfter(REALM, 0, 1_000);
      expect(entries.filter(({ sessionId }) => sessionId === session.id)).toMatchObject([{ subject: '' }]);
    });

    it('erases once for a request that comes ten times, and lists erasures in order', async () => {
      const [before] = (await erasures()).slice(-1);
      const [one, two] = [eraseOf(person(), { request: claimOf() }), eraseOf(person())];
      const outcomes = await atOnce(10, () => stores.subjects.erase(one));
      expect(tally(outcomes)).toEqual({ erased: 1, repeat: 9 });
      await stores.subjects.erase(two);
      const after = await stores.subjects.erasuresAfter(before?.position ?? 0, 100);
      const marks = after.map(({ subjectRef }) => subjectRef).filter((ref) => ref.startsWith('mark '));
      expect(marks).toEqual([one.mark, two.mark]);
      expect(after.every(({ realm, position }) => realm === REALM && position > (before?.position ?? 0))).toBe(true);
      expect(await stores.subjects.erasuresAfter(before?.position ?? 0, 1)).toEqual(after.slice(0, 1));
      expect(await stores.subjects.erasuresAfter(after.at(-1)?.position ?? 0, 100)).toEqual([]);
    });

    it('starts from nothing with somebody who comes back', async () => {
      const { subject } = await somebody();
      await stores.subjects.erase(eraseOf(subject));
      const factor = factorOf({ subject });
      expect(await stores.factors.begin(beginOf(factor, { firstOnly: true }))).toEqual({ outcome: 'begun' });
      expect(await stores.factors.confirm(confirmOf(factor))).toMatchObject({ outcome: 'confirmed' });
    });
  });
}
