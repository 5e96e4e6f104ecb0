import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { twoSidecars } from '../support/postgres-stores.ts';
import { type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  challengeOf,
  claimOf,
  codeSetOf,
  confirmOf,
  createOf,
  digest,
  eventOf,
  factorOf,
  id,
  LIMITS,
  person,
  REALM,
  sessionOf,
  T0,
  tally,
} from '../support/store-samples.ts';

/** What must hold when calls of two sidecars meet in the database, beyond what every store has to hold. */
describe('two sidecars at once on PostgreSQL', () => {
  let server: PostgresServer;
  let stores: StoreFixture;
  beforeAll(async () => {
    server = await PostgresServer.start();
    stores = await twoSidecars(server)();
  });
  afterAll(async () => {
    await stores.close();
    await server[Symbol.asyncDispose]();
  });

  const open = async (subject: string): Promise<Challenge> => {
    const challenge = challengeOf({ subject });
    await stores.challenges.open({ challenge, maxOpen: 20, events: [] });
    return challenge;
  };
  const enrolled = async (subject: string) => {
    const factor = factorOf({ subject });
    await stores.factors.begin(beginOf(factor));
    await stores.factors.confirm(confirmOf(factor, { backupCodes: codeSetOf(subject) }));
    return factor;
  };

  it('never spends more than the limit, for several people at once', async () => {
    const people = [person(), person(), person()];
    const spends = await Promise.all(
      people.map((subject) =>
        atOnce(100, () => stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 })),
      ),
    );
    expect(spends.map(tally)).toEqual(people.map(() => ({ spent: 5, locked: 95 })));
    for (const subject of people) {
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ consecutive: 5, recent: 5 });
    }
  });

  it('never holds more sessions than the cap while sessions are created and ended', async () => {
    const subject = person();
    const ends: Promise<unknown>[] = [];
    const created = await atOnce(50, async () => {
      const session = sessionOf({ subject });
      const outcome = await stores.sessions.create(createOf(session));
      const target = { kind: 'ids' as const, sessionIds: [session.id] };
      if (ends.length < 10) {
        ends.push(
          stores.sessions.end({ realm: REALM, target, reason: 'LOGOUT', now: T0, event: eventOf('session.ended') }),
        );
      }
      const live = await stores.sessions.list({ realm: REALM, subject, includeEnded: false, limit: 100, now: T0 });
      expect(live.length).toBeLessThanOrEqual(5);
      return outcome;
    });
    await Promise.all(ends);
    expect(tally(created)).toEqual({ created: 50 });
    const all = await stores.sessions.list({ realm: REALM, subject, includeEnded: true, limit: 100, now: T0 });
    expect(all).toHaveLength(50);
    // Each end has its one event, whoever came first.
    const types = await trailOf(stores, subject);
    const ended = all.filter(({ endedAt }) => endedAt !== undefined);
    expect(types.filter((type) => type === 'session.ended')).toHaveLength(ended.length);
  });

  it('approves by one proof once, however many challenges and sidecars it is sent to', async () => {
    const subject = person();
    const factor = await enrolled(subject);
    const challenges = await Promise.all(Array.from({ length: 5 }, () => open(subject)));
    const outcomes = await atOnce(50, (index) =>
      stores.challenges.approve({
        realm: REALM,
        challengeId: challenges[index % 5]?.id ?? '',
        proof: { kind: 'totp', factorId: factor.id, step: 200, driftSteps: 0 },
        method: 'totp',
        receiptId: id('receipt'),
        receiptExpiresAt: T0 + 60_000,
        now: T0 + 2_000,
        events: [eventOf('challenge.approved', { subject })],
      }),
    );
    expect(outcomes.filter(({ outcome }) => outcome === 'approved')).toHaveLength(1);
    expect((await trailOf(stores, subject)).filter((type) => type === 'challenge.approved')).toHaveLength(1);
  });

  it('gives one of many ways to end a challenge, and all agree which', async () => {
    const subject = person();
    const factor = await enrolled(subject);
    const challenge = await open(subject);
    const at = { realm: REALM, challengeId: challenge.id, now: T0 + 2_000 };
    const outcomes = await atOnce(40, async (index) => {
      const settled =
        index % 2 === 0
          ? await stores.challenges.settle({ ...at, to: index % 4 === 0 ? 'DENIED' : 'CANCELLED', events: [] })
          : await stores.challenges.approve({
              ...at,
              proof: { kind: 'totp', factorId: factor.id, step: 300 + index, driftSteps: 0 },
              method: 'totp',
              receiptId: id('receipt'),
              receiptExpiresAt: T0 + 60_000,
              events: [],
            });
      if (!('challenge' in settled)) throw new Error(settled.outcome);
      return settled;
    });
    expect(outcomes.filter(({ outcome }) => outcome !== 'ended')).toHaveLength(1);
    expect(new Set(outcomes.map((settled) => settled.challenge.state)).size).toBe(1);
  });

  it('never moves a challenge backwards', async () => {
    const challenge = await open(person());
    const to = ['DELIVERED', 'SEEN'] as const;
    await atOnce(40, (index) =>
      stores.challenges.advance({ realm: REALM, challengeId: challenge.id, to: to[index % 2] ?? 'SEEN', now: T0 }),
    );
    expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'SEEN' });
  });

  it('opens no more challenges than may be open', async () => {
    const subject = person();
    const outcomes = await atOnce(50, () =>
      stores.challenges.open({ challenge: challengeOf({ subject }), maxOpen: 5, events: [] }),
    );
    expect(tally(outcomes)).toEqual({ opened: 5, too_many: 45 });
  });

  it('burns a receipt once, and says the same to the same request', async () => {
    const receipt = burnOf();
    const request = claimOf();
    const same = await atOnce(20, () =>
      stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, request, events: [] }),
    );
    expect(tally(same)).toEqual({ burned: 1, repeat: 19 });
    const others = await atOnce(20, () =>
      stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, request: claimOf(), events: [] }),
    );
    expect(tally(others)).toEqual({ spent: 20 });
  });

  it('burns a receipt for a new session, a stronger session or a redemption, but once', async () => {
    const subject = person();
    const session = sessionOf({ subject });
    await stores.sessions.create(createOf(session));
    const receipt = burnOf();
    const outcomes = await atOnce<{ readonly outcome: string }>(30, (index) => {
      if (index % 3 === 0) {
        return stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, events: [] });
      }
      if (index % 3 === 1) return stores.sessions.create(createOf(sessionOf({ subject }), { receipt }));
      return stores.sessions.rotate({
        realm: REALM,
        sessionId: session.id,
        oldTokenDigest: session.tokenDigest,
        newTokenDigest: digest(),
        amr: ['otp'],
        acr: 'aal2',
        clearRisk: true,
        receipt,
        now: T0,
        events: [],
      });
    });
    const granted = outcomes.filter(({ outcome }) => ['burned', 'created', 'rotated'].includes(outcome));
    expect(granted).toHaveLength(1);
  });

  it('takes one request id once, also for different people and different receipts', async () => {
    const request = claimOf();
    const outcomes = await atOnce(30, (index) =>
      stores.sessions.create(
        createOf(sessionOf(), { request: { ...request, fingerprint: `request ${index}` }, receipt: burnOf() }),
      ),
    );
    expect(tally(outcomes)).toEqual({ created: 1, reused: 29 });
  });

  it('loses no risk that is noted while the token turns', async () => {
    const subject = person();
    const session = sessionOf({ subject });
    await stores.sessions.create(createOf(session));
    await atOnce(12, (index) =>
      stores.sessions.noteRisk({
        realm: REALM,
        sessionId: session.id,
        changes: [`CHANGE_${index}`],
        stepUpRequired: index === 5,
        now: T0,
        events: [],
      }),
    );
    const stored = await stores.sessions.read(REALM, session.id);
    expect(stored?.risk?.stepUpRequired).toBe(true);
    expect(stored?.risk?.changes).toHaveLength(12);
  });

  it('enrols no more factors than may be, and keeps the last one', async () => {
    const subject = person();
    const begun = await atOnce(20, () =>
      stores.factors.begin(beginOf(factorOf({ subject, state: 'ACTIVE', confirmedAt: T0 }), { maxFactors: 3 })),
    );
    expect(tally(begun)).toEqual({ begun: 3, too_many: 17 });
    const factors = await stores.factors.list(REALM, subject, T0);
    const removed = await atOnce(12, (index) =>
      stores.factors.remove({
        realm: REALM,
        subject,
        factorId: factors[index % 3]?.id ?? '',
        mustKeepOneOf: ['totp'],
        receipt: burnOf(),
        now: T0,
        events: [],
      }),
    );
    expect(removed.filter(({ outcome }) => outcome === 'removed')).toHaveLength(2);
    expect(await stores.factors.list(REALM, subject, T0)).toHaveLength(1);
  });

  it('collects from two sidecars at once, each row once', async () => {
    const realm = person();
    for (let index = 0; index < 40; index += 1) {
      const session = sessionOf({ realm });
      await stores.sessions.create(createOf(session));
      const target = { kind: 'ids' as const, sessionIds: [session.id] };
      const event = eventOf('session.ended');
      await stores.sessions.end({ realm, target, reason: 'LOGOUT', now: T0 - 9_000, event });
    }
    const counts = await atOnce(6, () => stores.sessions.purge(T0 - 5_000, 25));
    // Both the sessions and their entries in the log.
    expect(counts.reduce((sum, count) => sum + count)).toBe(80);
    expect(await stores.sessions.changesAfter(realm, 0, 100)).toEqual({ entries: [], oldest: 41, head: 40 });
  });
});
