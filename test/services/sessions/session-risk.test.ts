import { describe, expect, it } from 'vitest';
import type { ClientContext } from '#src/domain/caller.ts';
import { DEFAULT_REACTIONS, type RiskReactions } from '#src/domain/risk.ts';
import { MAX_NOTED_CHANGES } from '#src/domain/session.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { NewSession } from '#src/services/sessions/session-creation.ts';
import {
  APPLICATION,
  CHROME,
  LAPTOP,
  NEW_YORK,
  NEWER_FIREFOX,
  OXFORD,
  sessionWorld,
} from '../../support/session-world.ts';

async function signedIn(reactions: Partial<RiskReactions> = {}, over: Partial<NewSession> = {}) {
  const world = sessionWorld({ reactions: { ...DEFAULT_REACTIONS, ...reactions } });
  const { token, session } = await world.signIn(over);
  const check = (client: Partial<ClientContext> | undefined) =>
    world.sessions.validation.validate('default', token, client && { ...LAPTOP, ...client }, APPLICATION);
  const risks = () => world.store.events.filter(({ type }) => type === 'session.risk_detected');
  return { ...world, token, session, check, risks };
}

describe('a connection', () => {
  it('like the one of the sign-in raises nothing, nor does a newer version of the browser', async () => {
    const { check, risks } = await signedIn();
    for (const client of [{}, { userAgent: NEWER_FIREFOX }, undefined]) {
      expect(await check(client)).toMatchObject({ signals: [], stepUpRequired: false });
    }
    expect(risks()).toEqual([]);
  });

  it.each([
    ['from another address', { ipAddress: OXFORD }, ['ADDRESS_CHANGED'], false, 'audit'],
    ['without an address', { ipAddress: '' }, ['ADDRESS_UNKNOWN'], false, 'audit'],
    ['with an unreadable address', { ipAddress: '10.0.0.1, 1.2.3.4' }, ['ADDRESS_UNKNOWN'], false, 'audit'],
    ['of another browser', { userAgent: CHROME }, ['AGENT_CHANGED'], true, 'step_up'],
    ['of another device', { deviceId: 'phone' }, ['DEVICE_CHANGED'], true, 'step_up'],
    ['from another continent', { ipAddress: NEW_YORK }, ['ADDRESS_CHANGED', 'IMPOSSIBLE_TRAVEL'], true, 'step_up'],
  ] as const)(
    '%s is told, audited and answered by its default reaction',
    async (_, client, signals, stepUp, reaction) => {
      const { check, risks, session, metrics } = await signedIn();
      expect(await check(client)).toMatchObject({ signals, stepUpRequired: stepUp });
      expect(risks()).toMatchObject([
        {
          sessionId: session.id,
          subject: 'ann',
          outcome: 'INFO',
          facts: { signals: signals.join(' '), reaction },
          userAgent: { ...LAPTOP, ...client }.userAgent,
        },
      ]);
      for (const signal of signals) expect(metrics.count('riskSignal', signal)).toBe(1);
    },
  );

  it('is audited once per change, not per call, also after the cache was lost', async () => {
    const { check, risks, make, token } = await signedIn();
    for (let i = 0; i < 20; i++) {
      await check({ ipAddress: OXFORD });
      await check({});
      await check({ deviceId: 'phone' });
    }
    expect(risks()).toHaveLength(2);
    await Promise.all(Array.from({ length: 20 }, () => check({ deviceId: 'tablet' })));
    expect(risks()).toHaveLength(3);
    const restarted = make();
    await restarted.validation.validate('default', token, { ...LAPTOP, deviceId: 'phone' }, APPLICATION);
    expect(risks()).toHaveLength(3);
  });

  it('cannot fill the trail by changing all the time', async () => {
    const { check, risks } = await signedIn();
    for (let i = 0; i < 100; i++) {
      expect(await check({ deviceId: `device-${i}` })).toMatchObject({
        signals: ['DEVICE_CHANGED'],
        stepUpRequired: true,
      });
    }
    expect(risks()).toHaveLength(MAX_NOTED_CHANGES);
  });

  it('is checked without the store once it is known', async () => {
    const { check, store, sessions, token } = await signedIn();
    await check({ ipAddress: OXFORD });
    const before = new Map(store.calls);
    const again = sessions.validation.validate('default', token, { ...LAPTOP, ipAddress: OXFORD }, APPLICATION);
    expect(again).not.toBeInstanceOf(Promise);
    expect(again).toMatchObject({ signals: ['ADDRESS_CHANGED'] });
    expect(store.calls).toEqual(before);
  });

  it('that is known is known by all it says: one part that changes is seen', async () => {
    const { check } = await signedIn();
    for (const [client, signals] of [
      [{ userAgent: CHROME }, ['AGENT_CHANGED']],
      [{ ipAddress: OXFORD }, ['ADDRESS_CHANGED']],
      [{ deviceId: 'phone' }, ['DEVICE_CHANGED']],
    ] as const) {
      expect(await check({})).toMatchObject({ signals: [] });
      expect(await check(client)).toMatchObject({ signals });
    }
  });

  it('with a change is refused when the session ended elsewhere and the news has not come yet', async () => {
    const { check, store, session, clock } = await signedIn();
    expect(await check({})).toBeDefined();
    const stored = store.sessions.get(session.id);
    if (!stored) throw new Error('the session is not stored');
    store.sessions.set(session.id, { ...stored, endedAt: clock.now(), endReason: 'REVOKED' });
    expect(await check({ deviceId: 'phone' })).toBeUndefined();
  });

  it('is not answered when its signal cannot be stored', async () => {
    const { check, store } = await signedIn();
    await check({});
    store.failure = new Error('away');
    await expect(check({ deviceId: 'phone' })).rejects.toThrow('away');
    store.failure = undefined;
    expect(await check({ deviceId: 'phone' })).toMatchObject({ stepUpRequired: true });
  });
});

describe('a demanded step-up', () => {
  it('stands for every later call, known connection or not, and survives a restart', async () => {
    const { check, make, token } = await signedIn();
    await check({});
    await check({ deviceId: 'phone' });
    expect(await check({})).toMatchObject({ signals: [], stepUpRequired: true });
    expect(await check(undefined)).toMatchObject({ stepUpRequired: true });
    const restarted = make();
    expect(await restarted.validation.validate('default', token, LAPTOP, APPLICATION)).toMatchObject({
      stepUpRequired: true,
    });
  });
});

describe('the reaction end', () => {
  it('ends the session as hijacked, before the answer', async () => {
    const { check, risks, store, session, metrics } = await signedIn({ DEVICE_CHANGED: 'end' });
    expect(await check({})).toBeDefined();
    expect(await check({ deviceId: 'phone' })).toBeUndefined();
    expect(await check({})).toBeUndefined();
    expect(store.sessions.get(session.id)?.endReason).toBe('HIJACK');
    expect(risks()).toMatchObject([{ outcome: 'REFUSED', facts: { reaction: 'end' } }]);
    expect(store.events.at(-1)).toMatchObject({ type: 'session.ended', reason: 'HIJACK' });
    expect(metrics.count('sessionEnded', 'HIJACK')).toBe(1);
  });
});

describe('the reaction ignore', () => {
  it('leaves no trace', async () => {
    const { check, risks } = await signedIn({ ADDRESS_CHANGED: 'ignore' });
    expect(await check({ ipAddress: OXFORD })).toMatchObject({ signals: [], stepUpRequired: false });
    expect(risks()).toEqual([]);
  });
});

describe('travel', () => {
  it('is measured from the last call at a place, not from the sign-in', async () => {
    const { check, clock } = await signedIn();
    for (let i = 0; i < 20; i++) {
      clock.advance(40 * MINUTE);
      await check({});
    }
    clock.advance(MINUTE);
    expect(await check({ ipAddress: NEW_YORK })).toMatchObject({ signals: ['ADDRESS_CHANGED', 'IMPOSSIBLE_TRAVEL'] });
  });

  it('is possible in the time it takes', async () => {
    const { check, clock } = await signedIn();
    await check({});
    for (let i = 0; i < 14; i++) {
      clock.advance(30 * MINUTE);
      await check({ ipAddress: '' });
    }
    expect(await check({ ipAddress: NEW_YORK })).toMatchObject({ signals: ['ADDRESS_CHANGED'] });
    clock.advance(SECOND);
    expect(await check({})).toMatchObject({ signals: ['IMPOSSIBLE_TRAVEL'] });
  });

  it('does not move the person to where they cannot be', async () => {
    const { check, clock } = await signedIn();
    await check({ ipAddress: NEW_YORK });
    clock.advance(SECOND);
    expect(await check({})).toMatchObject({ signals: [] });
    clock.advance(SECOND);
    expect(await check({ ipAddress: NEW_YORK })).toMatchObject({ signals: ['ADDRESS_CHANGED', 'IMPOSSIBLE_TRAVEL'] });
  });
});
