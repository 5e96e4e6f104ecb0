import { describe, expect, it } from 'vitest';
import { livenessAt } from '#src/domain/session.ts';
import { isSessionToken } from '#src/domain/session-token.ts';
import { DAY, HOUR, MINUTE } from '#src/domain/time.ts';
import { APPLICATION, FIREFOX, LAPTOP, LONDON, NEW_YORK, sessionWorld } from '../../support/session-world.ts';

const REQUEST_ID = '5f2c6a52-7f0e-4c6e-9b0c-2f4f1c1f9a11';

describe('creating a session', () => {
  it('makes id and token itself and records the device with its browser, system and place', async () => {
    const { signIn, clock } = sessionWorld();
    const { session, token } = await signIn({ labels: { tab: 'main' } });
    expect(isSessionToken(token)).toBe(true);
    expect(session).toMatchObject({
      subject: 'ann',
      device: {
        ipAddress: LONDON,
        userAgent: FIREFOX,
        deviceId: 'laptop',
        browser: 'Firefox 145',
        operatingSystem: 'Linux',
        location: { city: 'London', latitude: 51.5 },
      },
      amr: [],
      acr: 'aal1',
      createdAt: clock.now(),
      expiresAt: clock.now() + DAY,
      idleMs: HOUR,
      labels: { tab: 'main' },
    });
    expect(session).not.toHaveProperty('mfaAt');
  });

  it('has nothing of the connection in the facts of its event, which are not sealed', async () => {
    const { signIn, store } = sessionWorld();
    await signIn({ client: { ...LAPTOP, userAgent: 'SomebodysOwnAgent/9.9' } });
    const [created] = store.events;
    expect(created).toMatchObject({ type: 'session.created', userAgent: 'SomebodysOwnAgent/9.9' });
    expect(JSON.stringify(created?.facts)).not.toContain('SomebodysOwnAgent');
  });

  it('never gives the same token twice', async () => {
    const { signIn } = sessionWorld({ cap: 1_000 });
    const tokens = await Promise.all(Array.from({ length: 100 }, async () => (await signIn()).token));
    expect(new Set(tokens).size).toBe(100);
  });

  it('works without anything known of the connection', async () => {
    const { signIn } = sessionWorld();
    const { session } = await signIn({ client: undefined });
    expect(session.device).toEqual({
      ipAddress: '',
      userAgent: '',
      deviceId: '',
      browser: '',
      operatingSystem: '',
    });
  });

  it('fails when its event cannot be stored', async () => {
    const { signIn, store } = sessionWorld();
    store.failure = new Error('disk full');
    await expect(signIn()).rejects.toThrow('disk full');
    expect(store.sessions.size).toBe(0);
  });
});

describe('the level of a new session', () => {
  it('is what the LOGIN receipt proves, at the time it was proven', async () => {
    const { signIn, receipts } = sessionWorld();
    const { session } = await signIn({ receipt: receipts.give({ approvedAt: 77 }) });
    expect(session).toMatchObject({ amr: ['otp', 'mfa'], acr: 'aal2', mfaAt: 77 });
  });

  it('is no more than a password when the receipt was approved without a proof', async () => {
    const { signIn, receipts } = sessionWorld();
    const receipt = receipts.giveUnproven({ approvalReason: 'MFA_DISABLED' });
    const { session } = await signIn({ receipt });
    expect(session).toMatchObject({ amr: [], acr: 'aal1' });
    expect(session.mfaAt).toBeUndefined();
  });

  it.each([
    ['another person', { subject: 'eve' }, 'subject'],
    ['another audience', { audience: 'ledger' }, 'audience'],
    ['an action', { purpose: 'action' as const }, 'purpose'],
    ['a step-up', { purpose: 'step_up' as const }, 'purpose'],
  ])('is refused with a receipt of %s', async (_, claims, part) => {
    const { signIn, receipts, store, trail, audit } = sessionWorld();
    await expect(signIn({ receipt: receipts.give(claims) })).rejects.toMatchObject({
      kind: 'denied',
      reason: 'RECEIPT_MISMATCH',
      details: { metadata: { part } },
    });
    expect(store.sessions.size).toBe(0);
    await trail.drain();
    expect(audit.events).toMatchObject([{ type: 'session.refused', outcome: 'REFUSED', reason: 'RECEIPT_MISMATCH' }]);
  });

  it('burns its receipt: of 50 parallel logins with one receipt one succeeds', async () => {
    const { signIn, receipts, store } = sessionWorld();
    const receipt = receipts.give();
    const results = await Promise.allSettled(Array.from({ length: 50 }, () => signIn({ receipt })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const refusals = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(refusals).toHaveLength(49);
    expect(new Set(refusals.map(({ kind, reason }) => `${kind} ${reason}`))).toEqual(
      new Set(['precondition RECEIPT_REDEEMED']),
    );
    expect(store.sessions.size).toBe(1);
  });
});

describe('the cap', () => {
  it('holds under 50 parallel logins, with an event for each session that went', async () => {
    const { signIn, store, clock, isGood, metrics } = sessionWorld();
    const created = await Promise.all(Array.from({ length: 50 }, () => signIn()));
    const live = [...store.sessions.values()].filter((session) => livenessAt(session, clock.now()).alive);
    expect(live).toHaveLength(5);
    const good = await Promise.all(created.map(({ token }) => isGood(token)));
    expect(good.filter(Boolean)).toHaveLength(5);
    expect(store.events.filter(({ type, reason }) => type === 'session.ended' && reason === 'EVICTED')).toHaveLength(
      45,
    );
    expect(metrics.count('sessionEnded', 'EVICTED')).toBe(45);
  });

  it('evicts the least recently used session, also when it is warm', async () => {
    const { signIn, isGood, clock, sessions } = sessionWorld({ cap: 2 });
    const first = await signIn();
    clock.advance(1_000);
    const second = await signIn();
    clock.advance(1_000);
    expect(await isGood(first.token)).toBe(true);
    expect(await isGood(second.token)).toBe(true);
    clock.advance(1_000);
    expect(await isGood(first.token)).toBe(true);
    await sessions.stop();
    const third = await signIn();
    expect(third.evicted.map(({ id }) => id)).toEqual([second.session.id]);
    expect(await isGood(second.token)).toBe(false);
    expect(await isGood(first.token)).toBe(true);
  });

  it('does not count other people, other realms and sessions that are over', async () => {
    const { signIn, isGood, clock } = sessionWorld({ cap: 1 });
    const old = await signIn();
    clock.advance(HOUR);
    const next = await signIn();
    expect(next.evicted).toEqual([]);
    await signIn({ subject: 'bob' });
    await signIn({ realm: 'other' });
    expect(await isGood(next.token)).toBe(true);
    expect(await isGood(old.token)).toBe(false);
  });

  it('refuses with the policy reject, and says so in the trail', async () => {
    const { signIn, isGood, trail, audit } = sessionWorld({ cap: 1, policy: 'reject' });
    const first = await signIn();
    await expect(signIn()).rejects.toMatchObject({ kind: 'precondition', reason: 'SESSION_LIMIT' });
    expect(await isGood(first.token)).toBe(true);
    await trail.drain();
    expect(audit.events).toMatchObject([{ type: 'session.refused', reason: 'SESSION_LIMIT', subject: 'ann' }]);
  });

  it('asks with the policy ask, and ends what the person chose', async () => {
    const { sessions, signIn, isGood, clock } = sessionWorld({ cap: 2, policy: 'ask' });
    const first = await signIn();
    clock.advance(1_000);
    const second = await signIn();
    const command = {
      realm: 'default',
      subject: 'ann',
      client: LAPTOP,
      receipt: '',
      labels: {},
      endSessionIds: [],
      rememberDevice: false,
      deviceName: '',
      requestId: REQUEST_ID,
    };
    const asked = await sessions.creation.create(command, APPLICATION);
    expect(asked).toMatchObject({
      outcome: 'choose',
      candidates: [{ id: second.session.id }, { id: first.session.id }],
    });
    const again = { ...command, endSessionIds: [second.session.id] };
    expect(await sessions.creation.create(again, APPLICATION)).toMatchObject({
      outcome: 'created',
      evicted: [{ id: second.session.id, endReason: 'EVICTED' }],
    });
    expect(await isGood(first.token)).toBe(true);
    expect(await isGood(second.token)).toBe(false);
  });

  it('ends nothing when one of the chosen ids is not a live session of the person', async () => {
    const { signIn, isGood } = sessionWorld({ cap: 1, policy: 'ask' });
    const mine = await signIn();
    const hers = await signIn({ subject: 'eve' });
    for (const id of [hers.session.id, 'ses_00000000000000000000000000', 'nonsense', '']) {
      await expect(signIn({ endSessionIds: [mine.session.id, id] })).rejects.toMatchObject({
        kind: 'invalid',
        details: { violations: [{ field: 'end_session_ids' }] },
      });
    }
    expect(await isGood(mine.token)).toBe(true);
    expect(await isGood(hers.token)).toBe(true);
  });
});

describe('a repeated request id', () => {
  it('gets the same session, token and evictions, with one effect', async () => {
    const { signIn, store } = sessionWorld({ cap: 1 });
    const old = await signIn();
    const results = await Promise.all(Array.from({ length: 20 }, () => signIn({ requestId: REQUEST_ID })));
    expect(new Set(results.map(({ token }) => token)).size).toBe(1);
    expect(new Set(results.map(({ session }) => session.id)).size).toBe(1);
    for (const { evicted } of results) expect(evicted.map(({ id }) => id)).toEqual([old.session.id]);
    expect(store.sessions.size).toBe(2);
    expect(store.events.filter(({ type }) => type === 'session.created')).toHaveLength(2);
  });

  it('does not burn a second receipt', async () => {
    const { signIn, receipts } = sessionWorld();
    const receipt = receipts.give();
    const first = await signIn({ receipt, requestId: REQUEST_ID });
    expect((await signIn({ receipt, requestId: REQUEST_ID })).token).toBe(first.token);
  });

  it('is refused for another request, with an event', async () => {
    const { signIn, trail, audit } = sessionWorld();
    await signIn({ requestId: REQUEST_ID });
    for (const other of [{ subject: 'bob' }, { labels: { a: 'b' } }, { client: { ...LAPTOP, ipAddress: NEW_YORK } }]) {
      await expect(signIn({ requestId: REQUEST_ID, ...other })).rejects.toMatchObject({
        kind: 'invalid',
        reason: 'REQUEST_ID_REUSED',
      });
    }
    await trail.drain();
    const [refused] = audit.events;
    expect(refused).toMatchObject({ type: 'session.refused', subject: 'bob', reason: 'REQUEST_ID_REUSED' });
  });

  it('keeps the token sealed until then', async () => {
    const { signIn, store, clock } = sessionWorld();
    const { token } = await signIn({ requestId: REQUEST_ID });
    clock.advance(MINUTE);
    expect(store.dump()).not.toContain(token);
    expect(store.dump()).not.toContain(token.slice(4, 47));
  });
});

describe('a use that the store has not been told yet', () => {
  it('counts under the cap', async () => {
    const { signIn, isGood, clock } = sessionWorld({ cap: 1, flushMs: DAY });
    const old = await signIn();
    clock.advance(HOUR - 1);
    expect(await isGood(old.token)).toBe(true);
    clock.advance(1);
    const next = await signIn();
    expect(next.evicted.map(({ id }) => id)).toEqual([old.session.id]);
    expect(await isGood(old.token)).toBe(false);
  });
});
