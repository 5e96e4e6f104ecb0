import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isId } from '#src/domain/ids.ts';
import { livenessAt, MAX_NOTED_CHANGES, type Session, type SessionLimitPolicy } from '#src/domain/session.ts';
import { HOUR, MINUTE } from '#src/domain/time.ts';
import type { EndSessions, NoteRisk, RotateSession } from '#src/ports/session-store.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  burnOf,
  claimOf,
  createOf,
  digest,
  eventOf,
  person,
  REALM,
  sessionOf,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeSessionStore(name: string, make: MakeStores): void {
  describe(`SessionStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const signIn = async (fields: Partial<Session> = {}) => {
      const session = sessionOf(fields);
      expect((await stores.sessions.create(createOf(session))).outcome).toBe('created');
      return session;
    };
    const live = (subject: string, now = T0) =>
      stores.sessions.list({ realm: REALM, subject, includeEnded: false, limit: 100, now });
    const ending = (ids: readonly string[], fields: Partial<EndSessions> = {}): EndSessions => ({
      realm: REALM,
      target: { kind: 'ids', sessionIds: ids },
      reason: 'REVOKED',
      now: T0,
      event: eventOf('session.ended'),
      ...fields,
    });
    const rotation = (session: Session, fields: Partial<RotateSession> = {}): RotateSession => ({
      realm: REALM,
      sessionId: session.id,
      oldTokenDigest: session.tokenDigest,
      newTokenDigest: digest(),
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      mfaAt: T0,
      clearRisk: true,
      receipt: burnOf(),
      now: T0,
      events: [eventOf('session.stepped_up', { subject: session.subject, sessionId: session.id })],
      ...fields,
    });
    const risk = (session: Session, changes: readonly string[], stepUpRequired = false): NoteRisk => ({
      realm: REALM,
      sessionId: session.id,
      changes,
      stepUpRequired,
      now: T0,
      events: [eventOf('session.risk_detected', { subject: session.subject, sessionId: session.id })],
    });

    it('gives back what was created, by id and by token', async () => {
      const session = await signIn();
      expect(await stores.sessions.read(REALM, session.id)).toEqual(session);
      expect(await stores.sessions.findByTokenDigest(REALM, session.tokenDigest)).toEqual(session);
      expect(await stores.sessions.findByTokenDigest('other', session.tokenDigest)).toBeUndefined();
      expect(await trailOf(stores, session.subject)).toEqual(['session.created']);
    });

    it.each<[SessionLimitPolicy, Readonly<Record<string, number>>]>([
      ['evict_oldest', { created: 50 }],
      ['reject', { created: 5, limit: 45 }],
      ['ask', { created: 5, limit: 45 }],
    ])('holds the cap of five under 50 parallel logins with %s', async (policy, counts) => {
      const subject = person();
      const outcomes = await atOnce(50, () => stores.sessions.create(createOf(sessionOf({ subject }), { policy })));
      expect(tally(outcomes)).toEqual(counts);
      expect(await live(subject)).toHaveLength(5);
      const types = await trailOf(stores, subject);
      expect(types.filter((type) => type === 'session.created')).toHaveLength(counts['created'] ?? 0);
      expect(types.filter((type) => type === 'session.ended')).toHaveLength((counts['created'] ?? 0) - 5);
    });

    it('evicts the least recently used, with an event of its own and an entry in the log', async () => {
      const subject = person();
      const old: Session[] = [];
      for (let index = 0; index < 5; index += 1)
        old.push(await signIn({ subject, createdAt: T0 + index, lastUsedAt: T0 + index }));
      await stores.sessions.touch([{ realm: REALM, sessionId: old[0]?.id ?? '', lastUsedAt: T0 + 100 }]);
      const command = createOf(sessionOf({ subject, createdAt: T0 + 200, lastUsedAt: T0 + 200 }));
      const created = await stores.sessions.create(command);
      const evicted = { ...old[1], endedAt: T0 + 200, endReason: 'EVICTED' };
      expect(created).toEqual({ outcome: 'created', evicted: [evicted] });
      const [event] = await stores.audit.query({ sessionId: old[1]?.id ?? '', types: ['session.ended'] }, 10);
      expect(event).toMatchObject({ reason: 'EVICTED', subject });
      expect(event?.id).not.toBe(command.evictionEvent.id);
      expect(isId('event', event?.id ?? '')).toBe(true);
      const { head } = await stores.sessions.revocationsAfter(REALM, 0, 0);
      const { entries } = await stores.sessions.revocationsAfter(REALM, head - 1, 10);
      expect(entries).toMatchObject([{ sessionId: old[1]?.id, subject, reason: 'EVICTED', endedAt: T0 + 200 }]);
    });

    it('does not count sessions that lapsed', async () => {
      const subject = person();
      for (let index = 0; index < 5; index += 1) await signIn({ subject, idleMs: 1_000 });
      const at = (now: number) =>
        stores.sessions.create(createOf(sessionOf({ subject, createdAt: now }), { policy: 'reject', now }));
      expect((await at(T0 + 999)).outcome).toBe('limit');
      expect((await at(T0 + 1_000)).outcome).toBe('created');
    });

    it('answers the live sessions to `ask`, newest first, and ends the chosen ones', async () => {
      const subject = person();
      const sessions: Session[] = [];
      for (let index = 0; index < 5; index += 1) sessions.push(await signIn({ subject, createdAt: T0 + index }));
      const command = createOf(sessionOf({ subject }), { policy: 'ask', now: T0 + 9 });
      const asked = await stores.sessions.create(command);
      expect(asked).toEqual({ outcome: 'limit', candidates: sessions.toReversed() });
      const chosen = sessions[3]?.id ?? '';
      expect(await stores.sessions.create({ ...command, endSessionIds: [chosen] })).toMatchObject({
        outcome: 'created',
        evicted: [{ id: chosen, endReason: 'EVICTED' }],
      });
      expect((await live(subject)).map(({ id }) => id)).not.toContain(chosen);
    });

    it('refuses to end a session that is not a live one of the person', async () => {
      const subject = person();
      const foreign = await signIn();
      const ended = await signIn({ subject });
      await stores.sessions.end(ending([ended.id]));
      for (const id of [foreign.id, ended.id, 'ses_none']) {
        const command = createOf(sessionOf({ subject }), { policy: 'ask', endSessionIds: [id] });
        expect(await stores.sessions.create(command)).toEqual({ outcome: 'unknown_session' });
      }
      expect(await stores.sessions.read(REALM, foreign.id)).toEqual(foreign);
    });

    it('creates one session for a repeated request and one receipt', async () => {
      const subject = person();
      const request = claimOf();
      const receipt = burnOf();
      const repeats = await atOnce(10, () =>
        stores.sessions.create(createOf(sessionOf({ subject }), { request, receipt })),
      );
      expect(tally(repeats)).toEqual({ created: 1, repeat: 9 });
      const again = createOf(sessionOf({ subject }), { request: claimOf(), receipt });
      expect(await stores.sessions.create(again)).toEqual({ outcome: 'receipt_spent' });
      expect(await live(subject)).toHaveLength(1);
    });

    it('notes use forward only, and never on an ended session', async () => {
      const [used, ended] = [await signIn(), await signIn()];
      await stores.sessions.end(ending([ended.id]));
      const touch = (session: Session, lastUsedAt: number) => ({ realm: REALM, sessionId: session.id, lastUsedAt });
      await stores.sessions.touch([touch(used, T0 + 50), touch(used, T0 + 20), touch(ended, T0 + 50)]);
      expect(await stores.sessions.read(REALM, used.id)).toMatchObject({ lastUsedAt: T0 + 50 });
      expect(await stores.sessions.read(REALM, ended.id)).toMatchObject({ lastUsedAt: T0 });
    });

    it('rotates the token once, and the old one is dead', async () => {
      const session = await signIn();
      await stores.sessions.noteRisk(risk(session, ['ADDRESS_CHANGED'], true));
      const device = { ...session.device, ipAddress: '198.51.100.1' };
      const outcomes = await atOnce(20, () => stores.sessions.rotate(rotation(session, { device, now: T0 + 5 })));
      expect(tally(outcomes)).toEqual({ rotated: 1, not_live: 19 });
      const rotated = outcomes.find(({ outcome }) => outcome === 'rotated');
      const stored = await stores.sessions.read(REALM, session.id);
      expect(rotated).toEqual({ outcome: 'rotated', session: stored });
      expect(stored).toMatchObject({ acr: 'aal2', mfaAt: T0, lastUsedAt: T0 + 5, device });
      expect(stored?.risk).toBeUndefined();
      expect(await stores.sessions.findByTokenDigest(REALM, session.tokenDigest)).toBeUndefined();
      expect((await trailOf(stores, session.subject)).filter((type) => type === 'session.stepped_up')).toHaveLength(1);
    });

    it('keeps the time of the last proof and the risk when nothing was proven', async () => {
      const session = await signIn({ mfaAt: T0 - 5 });
      await stores.sessions.noteRisk(risk(session, ['AGENT_CHANGED'], true));
      const { mfaAt: _absent, ...command } = rotation(session, { clearRisk: false, labels: { a: 'b' } });
      expect(await stores.sessions.rotate(command)).toMatchObject({
        session: { mfaAt: T0 - 5, risk: { stepUpRequired: true, changes: ['AGENT_CHANGED'] }, labels: { a: 'b' } },
      });
    });

    it('rotates neither with a spent receipt nor after the end', async () => {
      const session = await signIn();
      const receipt = burnOf();
      await stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, events: [] });
      expect(await stores.sessions.rotate(rotation(session, { receipt }))).toEqual({ outcome: 'receipt_spent' });
      const idle = rotation(session, { now: T0 + 30 * MINUTE });
      expect(await stores.sessions.rotate(idle)).toEqual({ outcome: 'not_live' });
      await stores.sessions.end(ending([session.id]));
      expect(await stores.sessions.rotate(rotation(session))).toEqual({ outcome: 'not_live' });
      const labels = { realm: REALM, sessionId: session.id, labels: {}, now: T0, events: [] };
      expect(await stores.sessions.setLabels(labels)).toEqual({ outcome: 'not_live' });
    });

    it('changes labels as a whole', async () => {
      const session = await signIn();
      const events = [eventOf('session.updated', { subject: session.subject })];
      const command = { realm: REALM, sessionId: session.id, labels: { team: 'red' }, now: T0, events };
      expect(await stores.sessions.setLabels(command)).toEqual({
        outcome: 'updated',
        session: { ...session, labels: { team: 'red' } },
      });
      expect(await trailOf(stores, session.subject)).toContain('session.updated');
    });

    it('keeps a demanded step-up when a later change demands none', async () => {
      const session = await signIn();
      await stores.sessions.noteRisk(risk(session, ['DEVICE_CHANGED'], true));
      expect(await stores.sessions.noteRisk(risk(session, ['ADDRESS_CHANGED']))).toMatchObject({
        outcome: 'noted',
        session: { risk: { stepUpRequired: true, changes: ['DEVICE_CHANGED', 'ADDRESS_CHANGED'] } },
      });
    });

    it('notes each risk once, up to its bound', async () => {
      const session = await signIn();
      const outcomes = await atOnce(10, () => stores.sessions.noteRisk(risk(session, ['ADDRESS_CHANGED'])));
      expect(tally(outcomes)).toEqual({ noted: 1, known: 9 });
      expect(await stores.sessions.noteRisk(risk(session, ['ADDRESS_CHANGED'], true))).toMatchObject({
        outcome: 'noted',
        session: { risk: { stepUpRequired: true } },
      });
      const many = Array.from({ length: 40 }, (_, index) => `CHANGE_${index}`);
      const noted = await stores.sessions.noteRisk(risk(session, many));
      expect(noted.outcome === 'noted' && noted.session.risk?.changes).toHaveLength(MAX_NOTED_CHANGES);
      expect((await stores.sessions.noteRisk(risk(session, ['MORE']))).outcome).toBe('known');
    });

    it('ends a session once, with one event and one entry in the log', async () => {
      const session = await signIn();
      const ended = await atOnce(20, () => stores.sessions.end(ending([session.id, session.id])));
      expect(ended.flat()).toEqual([{ ...session, endedAt: T0, endReason: 'REVOKED' }]);
      expect((await trailOf(stores, session.subject)).filter((type) => type === 'session.ended')).toHaveLength(1);
      const { head } = await stores.sessions.revocationsAfter(REALM, 0, 0);
      const { entries } = await stores.sessions.revocationsAfter(REALM, 0, head);
      expect(entries.filter(({ sessionId }) => sessionId === session.id)).toHaveLength(1);
    });

    it('derives an event id of its own for each session that one call ends', async () => {
      const session = await signIn();
      const command = ending([session.id]);
      await stores.sessions.end(command);
      const [first] = await stores.audit.query({ sessionId: session.id, types: ['session.ended'] }, 1);
      const twin = await signIn();
      await stores.sessions.end({ ...command, target: { kind: 'ids', sessionIds: [twin.id] } });
      const [second] = await stores.audit.query({ sessionId: twin.id, types: ['session.ended'] }, 1);
      expect(first?.subject).toBe(session.subject);
      expect(new Set([first?.id, second?.id, command.event.id]).size).toBe(3);
    });

    it('ends all sessions of a person but one, and none of anybody else', async () => {
      const subject = person();
      const [kept, ...others] = [await signIn({ subject }), await signIn({ subject }), await signIn({ subject })];
      const foreign = await signIn();
      const target = { kind: 'subject', subject, exceptSessionId: kept?.id ?? '' } as const;
      const ended = await stores.sessions.end(ending([], { target }));
      expect(ended.map(({ id }) => id).toSorted()).toEqual(others.map(({ id }) => id).toSorted());
      const wrongOwner = { kind: 'ids', sessionIds: [foreign.id], subject } as const;
      expect(await stores.sessions.end(ending([], { target: wrongOwner }))).toEqual([]);
      expect(await live(subject)).toEqual([kept]);
    });

    it('ends as idle or expired only what has reached its limit', async () => {
      const session = await signIn({ idleMs: 1_000 });
      expect(await stores.sessions.due(T0 + 999, 1_000)).not.toContainEqual(session);
      expect(await stores.sessions.due(T0 + 1_000, 1_000)).toContainEqual(session);
      await stores.sessions.touch([{ realm: REALM, sessionId: session.id, lastUsedAt: T0 + 500 }]);
      const sweep = (now: number) => stores.sessions.end(ending([session.id], { reason: 'IDLE', now }));
      expect(await sweep(T0 + 1_000)).toEqual([]);
      expect(await sweep(T0 + 1_500)).toMatchObject([{ id: session.id, endReason: 'IDLE' }]);
      expect(await stores.sessions.due(T0 + HOUR, 1_000)).not.toContainEqual(
        expect.objectContaining({ id: session.id }),
      );
    });

    it('revokes a session that merely looks idle, so that a late use cannot bring it back', async () => {
      const session = await signIn({ idleMs: 1_000 });
      await stores.sessions.end(ending([session.id], { now: T0 + 1_200 }));
      await stores.sessions.touch([{ realm: REALM, sessionId: session.id, lastUsedAt: T0 + 900 }]);
      const stored = await stores.sessions.read(REALM, session.id);
      expect(stored && livenessAt(stored, T0 + 1_300)).toEqual({ alive: false, reason: 'REVOKED' });
    });

    it('pages through sessions, newest first, without gaps or repeats', async () => {
      const subject = person();
      const all: Session[] = [];
      for (let index = 0; index < 5; index += 1)
        all.push(await signIn({ subject, createdAt: T0 + Math.floor(index / 2) }));
      await stores.sessions.end(ending([all[2]?.id ?? '']));
      const seen: string[] = [];
      let after: { readonly createdAt: number; readonly id: string } | undefined;
      for (;;) {
        const page = { realm: REALM, subject, includeEnded: true, limit: 2, now: T0, ...(after && { after }) };
        const sessions = await stores.sessions.list(page);
        seen.push(...sessions.map(({ id }) => id));
        after = sessions.at(-1);
        if (sessions.length < 2) break;
      }
      const byAge = all.toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
      expect(seen).toEqual(byAge.map(({ id }) => id));
      expect(await live(subject)).toHaveLength(4);
    });

    it('numbers revocations in order, pages through them, and says what was trimmed', async () => {
      const realm = `realm-${person()}`;
      const inRealm = { kind: 'ids' as const, sessionIds: [] as string[] };
      expect(await stores.sessions.revocationsAfter(realm, 0, 10)).toEqual({ entries: [], oldest: 1, head: 0 });
      for (let index = 0; index < 6; index += 1) {
        const session = sessionOf({ realm });
        await stores.sessions.create(createOf(session));
        const target = { ...inRealm, sessionIds: [session.id] };
        await stores.sessions.end(ending([], { realm, target, now: T0 - HOUR + index }));
      }
      const first = await stores.sessions.revocationsAfter(realm, 0, 4);
      expect(first).toMatchObject({ oldest: 1, head: 6 });
      expect(first.entries.map(({ position }) => position)).toEqual([1, 2, 3, 4]);
      const rest = await stores.sessions.revocationsAfter(realm, 4, 4);
      expect(rest.entries.map(({ position }) => position)).toEqual([5, 6]);
      await stores.sessions.purge(T0 - HOUR + 3, 1_000);
      expect(await stores.sessions.revocationsAfter(realm, 0, 10)).toMatchObject({ oldest: 4, head: 6 });
      stores = await stores.restart();
      await stores.sessions.purge(T0 - HOUR + 100, 1_000);
      expect(await stores.sessions.revocationsAfter(realm, 0, 10)).toEqual({ entries: [], oldest: 7, head: 6 });
    });

    it('logs each change of a session among the ends, without gaps, and the ends alone as revocations', async () => {
      const realm = `realm-${person()}`;
      expect(await stores.sessions.changesAfter(realm, 0, 10)).toEqual({ entries: [], oldest: 1, head: 0 });
      const session = sessionOf({ realm });
      const { id: sessionId, subject } = session;
      await stores.sessions.create(createOf(session));
      const turned = rotation(session, { realm, now: T0 + 1 });
      await stores.sessions.rotate(turned);
      await stores.sessions.noteRisk({ ...risk(session, ['ADDRESS_CHANGED']), realm, now: T0 + 2 });
      await stores.sessions.setLabels({ realm, sessionId, labels: { a: 'b' }, now: T0 + 3, events: [] });
      const target = { kind: 'ids' as const, sessionIds: [sessionId] };
      await stores.sessions.end(ending([], { realm, target, now: T0 + 4 }));
      const of = { realm, sessionId, subject };
      const entries = [
        { ...of, position: 1, at: T0 + 1 },
        { ...of, position: 2, at: T0 + 2 },
        { ...of, position: 3, at: T0 + 3 },
        { ...of, position: 4, at: T0 + 4, endReason: 'REVOKED' },
      ];
      expect(await stores.sessions.changesAfter(realm, 0, 10)).toEqual({ entries, oldest: 1, head: 4 });
      expect(await stores.sessions.changesAfter(realm, 1, 2)).toEqual({
        entries: entries.slice(1, 3),
        oldest: 1,
        head: 4,
      });
      expect(await stores.sessions.changesAfter(realm, 4, 2)).toEqual({ entries: [], oldest: 1, head: 4 });
      expect(await stores.sessions.revocationsAfter(realm, 0, 1)).toEqual({
        entries: [{ ...of, position: 4, reason: 'REVOKED', endedAt: T0 + 4 }],
        oldest: 1,
        head: 4,
      });
      await stores.sessions.purge(T0 + 3, 1_000);
      expect(await stores.sessions.changesAfter(realm, 0, 10)).toEqual({
        entries: entries.slice(2),
        oldest: 3,
        head: 4,
      });
    });

    it('logs no change for what changed nothing', async () => {
      const realm = `realm-${person()}`;
      const session = sessionOf({ realm });
      await stores.sessions.create(createOf(session));
      await stores.sessions.noteRisk({ ...risk(session, ['ADDRESS_CHANGED']), realm });
      await stores.sessions.noteRisk({ ...risk(session, ['ADDRESS_CHANGED']), realm });
      await stores.sessions.touch([{ realm, sessionId: session.id, lastUsedAt: T0 + 5 }]);
      const spent = burnOf();
      await stores.challenges.burnReceipt({ ...spent, realm, now: T0, events: [] });
      await stores.sessions.rotate(rotation(session, { realm, receipt: spent }));
      const target = { kind: 'ids' as const, sessionIds: [session.id] };
      await stores.sessions.end(ending([], { realm, target, reason: 'IDLE' }));
      expect(await stores.sessions.changesAfter(realm, 0, 10)).toMatchObject({ head: 1 });
    });

    it('gives each of many parallel changes a position of its own, and each session one end', async () => {
      const realm = `realm-${person()}`;
      const sessions = Array.from({ length: 20 }, () => sessionOf({ realm }));
      for (const session of sessions) await stores.sessions.create(createOf(session));
      const target = { kind: 'ids' as const, sessionIds: sessions.map(({ id }) => id) };
      const backwards = { ...target, sessionIds: target.sessionIds.toReversed() };
      const changed = sessions.map((session) =>
        stores.sessions.noteRisk({ ...risk(session, ['AGENT_CHANGED']), realm }),
      );
      const ends = await Promise.all([
        stores.sessions.end(ending([], { realm, target })),
        stores.sessions.end(ending([], { realm, target: backwards })),
      ]);
      expect(
        ends
          .flat()
          .map(({ id }) => id)
          .toSorted(),
      ).toEqual(target.sessionIds.toSorted());
      const noted = tally(await Promise.all(changed))['noted'] ?? 0;
      const { entries, head } = await stores.sessions.changesAfter(realm, 0, 100);
      expect(head).toBe(20 + noted);
      expect(entries.map(({ position }) => position)).toEqual(Array.from({ length: head }, (_, index) => index + 1));
      expect(entries.filter(({ endReason }) => endReason !== undefined)).toHaveLength(20);
    });

    it('notes the uses of many sessions at once', async () => {
      const sessions: Session[] = [];
      for (let index = 0; index < 40; index += 1) sessions.push(await signIn());
      const uses = sessions.map(({ id }, index) => ({ realm: REALM, sessionId: id, lastUsedAt: T0 + 1 + index }));
      await Promise.all([stores.sessions.touch(uses), stores.sessions.touch(uses.toReversed())]);
      for (const [index, { id }] of sessions.entries()) {
        expect(await stores.sessions.read(REALM, id)).toMatchObject({ lastUsedAt: T0 + 1 + index });
      }
    });

    it('collects ended sessions from before, and none that lives', async () => {
      const [ended, alive] = [await signIn(), await signIn()];
      await stores.sessions.end(ending([ended.id], { now: T0 + 10 }));
      await stores.sessions.purge(T0 + 10, 1_000);
      expect(await stores.sessions.read(REALM, ended.id)).toBeDefined();
      expect(await stores.sessions.purge(T0 + 11, 1_000)).toBeGreaterThan(0);
      expect(await stores.sessions.read(REALM, ended.id)).toBeUndefined();
      expect(await stores.sessions.read(REALM, alive.id)).toEqual(alive);
    });
  });
}
