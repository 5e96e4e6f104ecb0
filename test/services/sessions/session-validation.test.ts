import { describe, expect, it } from 'vitest';
import { newSessionToken } from '#src/domain/session-token.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import { settle } from '../../support/clock.ts';
import { APPLICATION, LAPTOP, sessionWorld } from '../../support/session-world.ts';

describe('validating a token', () => {
  it('answers at once and without the store when it is warm', async () => {
    const { sessions, signIn, store, metrics } = sessionWorld();
    const { token, session } = await signIn();
    await sessions.validation.validate('default', token, LAPTOP, APPLICATION);
    const before = new Map(store.calls);
    const warm = sessions.validation.validate('default', token, LAPTOP, APPLICATION);
    expect(warm).not.toBeInstanceOf(Promise);
    expect(warm).toMatchObject({ session: { id: session.id }, signals: [], stepUpRequired: false });
    expect(sessions.validation.validate('default', token, LAPTOP, APPLICATION)).toBe(warm);
    expect(sessions.validation.validate('default', token, undefined, APPLICATION)).not.toBeInstanceOf(Promise);
    expect(store.calls).toEqual(before);
    expect(metrics.count('validation', 'valid', 'cache')).toBe(3);
  });

  it('tells nobody why a token is not good', async () => {
    const { sessions, signIn, isGood, clock } = sessionWorld();
    const idle = await signIn();
    clock.advance(HOUR);
    const revoked = await signIn();
    await sessions.directory.revokeByToken('default', revoked.token, APPLICATION);
    const foreign = await signIn({ realm: 'other' });
    const unknown = newSessionToken(new Uint8Array(32));
    for (const token of ['', 'x', `${foreign.token}x`, idle.token, revoked.token, foreign.token, unknown]) {
      expect(await isGood(token)).toBe(false);
      expect(await sessions.validation.authenticate('default', token)).toBeUndefined();
    }
    expect(await sessions.validation.validate('other', foreign.token, undefined, APPLICATION)).toBeDefined();
    expect(await isGood(foreign.token)).toBe(false);
  });

  it('asks no store about malformed tokens', async () => {
    const { isGood, store, metrics } = sessionWorld();
    for (const token of ['', 'sps_', 'a'.repeat(10_000), `sps_${'0'.repeat(48)}1`])
      expect(await isGood(token)).toBe(false);
    expect(store.count('findByTokenDigest')).toBe(0);
    expect(metrics.count('validation', 'invalid', 'cache')).toBe(4);
  });

  it('audits a dead token of a known session in one folded event, and unknown tokens not at all', async () => {
    const { sessions, signIn, isGood, trail, audit } = sessionWorld();
    const { token, session } = await signIn();
    await sessions.directory.revokeByToken('default', token, APPLICATION);
    for (let i = 0; i < 100; i++) await isGood(token);
    for (let i = 0; i < 100; i++) await isGood(newSessionToken(new Uint8Array(32).fill(i + 1)));
    await trail.drain();
    expect(audit.events).toMatchObject([
      { type: 'session.rejected', outcome: 'REFUSED', sessionId: session.id, subject: 'ann', facts: { end: 'LOGOUT' } },
      { type: 'session.rejected', count: 99 },
    ]);
  });

  it('refuses when the store does not answer, and does not take it for a dead session', async () => {
    const { signIn, isGood, store } = sessionWorld({ cacheEntries: 0 });
    const { token } = await signIn();
    store.failure = new Error('away');
    await expect(isGood(token)).rejects.toThrow('away');
    store.failure = undefined;
    expect(await isGood(token)).toBe(true);
  });
});

describe('the limits of a session', () => {
  it.each([0, 1_000])('end it exactly at 24 hours, whatever its use, with a cache of %i', async (cacheEntries) => {
    const { signIn, isGood, clock, store } = sessionWorld({ cacheEntries });
    const { token, session } = await signIn();
    for (let hour = 0; hour < 47; hour++) {
      clock.advance(HOUR / 2);
      expect(await isGood(token)).toBe(true);
    }
    clock.advance(HOUR / 2 - 1);
    expect(await isGood(token)).toBe(true);
    clock.advance(1);
    expect(clock.now()).toBe(session.createdAt + DAY);
    expect(await isGood(token)).toBe(false);
    expect(store.sessions.get(session.id)?.endReason).toBe('EXPIRED');
  });

  it.each([0, 1_000])('end it exactly one idle hour after its last use, with a cache of %i', async (cacheEntries) => {
    const { signIn, isGood, clock, store } = sessionWorld({ cacheEntries });
    const { token, session } = await signIn();
    clock.advance(HOUR - 1);
    expect(await isGood(token)).toBe(true);
    clock.advance(HOUR - 1);
    expect(await isGood(token)).toBe(true);
    clock.advance(HOUR);
    expect(await isGood(token)).toBe(false);
    expect(store.sessions.get(session.id)?.endReason).toBe('IDLE');
    expect(store.events.at(-1)).toMatchObject({ type: 'session.ended', reason: 'IDLE', outcome: 'INFO' });
  });

  it('stay passed when the clock goes back', async () => {
    const { signIn, isGood, clock } = sessionWorld();
    const warm = await signIn();
    const cold = await signIn();
    expect(await isGood(warm.token)).toBe(true);
    clock.advance(HOUR);
    expect(await isGood(warm.token)).toBe(false);
    expect(await isGood(cold.token)).toBe(false);
    clock.setWall(clock.now() - 30 * MINUTE);
    expect(await isGood(warm.token)).toBe(false);
    expect(await isGood(cold.token)).toBe(false);
  });

  it('are not moved by a use that a clock in the past notes', async () => {
    const { signIn, isGood, clock } = sessionWorld();
    const { token } = await signIn();
    const start = clock.now();
    clock.advance(30 * MINUTE);
    expect(await isGood(token)).toBe(true);
    clock.setWall(start + MINUTE);
    expect(await isGood(token)).toBe(true);
    clock.setWall(start + 90 * MINUTE - 1);
    expect(await isGood(token)).toBe(true);
  });
});

describe('uses', () => {
  it('reach the store in one batch every few seconds and at the stop', async () => {
    const { sessions, signIn, isGood, clock, store } = sessionWorld();
    const [one, two] = [await signIn(), await signIn()];
    for (let i = 0; i < 50; i++) {
      clock.advance(10);
      await isGood(one.token);
      await isGood(two.token);
    }
    expect(store.count('touch')).toBe(0);
    await clock.advanceSlowly(5 * SECOND, SECOND);
    expect(store.count('touch')).toBe(1);
    expect(store.sessions.get(one.session.id)?.lastUsedAt).toBe(one.session.createdAt + 500);
    clock.advance(10);
    await isGood(one.token);
    await sessions.stop();
    expect(store.sessions.get(one.session.id)?.lastUsedAt).toBe(clock.now());
  });

  it('are kept and told again when the store refuses them', async () => {
    const { signIn, isGood, clock, store, log } = sessionWorld();
    const { token, session } = await signIn();
    await isGood(token);
    clock.advance(SECOND);
    await isGood(token);
    store.failure = new Error('away');
    await clock.advanceSlowly(5 * SECOND, SECOND);
    expect(log.lines).toHaveLength(1);
    store.failure = undefined;
    await clock.advanceSlowly(5 * SECOND, SECOND);
    expect(store.sessions.get(session.id)?.lastUsedAt).toBe(session.createdAt + SECOND);
  });

  it('are shown in steps of some seconds', async () => {
    const { sessions, signIn, clock } = sessionWorld();
    const { token, session } = await signIn();
    const lastUse = () => {
      const valid = sessions.validation.validate('default', token, undefined, APPLICATION);
      return valid === undefined || valid instanceof Promise ? undefined : valid.session.lastUsedAt;
    };
    await sessions.validation.validate('default', token, undefined, APPLICATION);
    clock.advance(4 * SECOND);
    expect(lastUse()).toBe(session.createdAt);
    clock.advance(SECOND);
    lastUse();
    expect(lastUse()).toBe(session.createdAt + 5 * SECOND);
  });
});

describe('the fence', () => {
  it('keeps what was read before an end out of the cache', async () => {
    const { sessions, signIn, isGood, store } = sessionWorld();
    const { token } = await signIn();
    let release = () => {};
    store.hold = new Promise((resolve) => {
      release = resolve;
    });
    const reading = isGood(token);
    await settle();
    store.hold = undefined;
    await sessions.directory.revokeByToken('default', token, APPLICATION);
    release();
    await reading;
    expect(await isGood(token)).toBe(false);
    expect(sessions.validation.validate('default', token, undefined, APPLICATION)).toBeInstanceOf(Promise);
  });

  it('keeps what was read before a rotation out of the cache', async () => {
    const { sessions, signIn, isGood, store, receipts } = sessionWorld();
    const { token, session } = await signIn();
    let release = () => {};
    store.hold = new Promise((resolve) => {
      release = resolve;
    });
    const reading = isGood(token);
    await settle();
    store.hold = undefined;
    const receipt = receipts.give({ purpose: 'step_up', sessionId: session.id });
    await sessions.renewal.update(
      { realm: 'default', token, receipt, labels: undefined, client: undefined, requestId: '' },
      APPLICATION,
    );
    release();
    await reading;
    expect(await isGood(token)).toBe(false);
  });

  it('drops a warm session before the reply to its end', async () => {
    const { sessions, signIn, isGood } = sessionWorld();
    const { token, session } = await signIn();
    expect(await isGood(token)).toBe(true);
    await sessions.directory.revokeById('default', session.id, 'ann', APPLICATION);
    expect(await sessions.validation.validate('default', token, undefined, APPLICATION)).toBeUndefined();
  });

  it('drops everything when it is unknown whether an end took effect', async () => {
    const { sessions, signIn, isGood, store } = sessionWorld();
    const { token, session } = await signIn();
    expect(await isGood(token)).toBe(true);
    store.failure = new Error('lost the reply');
    await expect(sessions.directory.revokeAll('default', 'ann', '', APPLICATION)).rejects.toThrow();
    store.failure = undefined;
    store.sessions.set(session.id, { ...session, endReason: 'REVOKED', endedAt: 1 });
    expect(await isGood(token)).toBe(false);
  });
});
