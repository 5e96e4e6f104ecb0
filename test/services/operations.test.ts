import { describe, expect, it } from 'vitest';
import { parseTemporaryPass, passDigestInput } from '#src/domain/temporary-pass.ts';
import { HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import { PASS_PURPOSE } from '#src/services/factors/temporary-passes.ts';
import { personWorld, REALM, VISIT } from '../support/person-world.ts';
import { OPERATOR } from '../support/session-world.ts';

const LIMITS = { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 };
const REQUEST_ID = '6a0cf4f5-17c5-4d59-8f2f-0c2f6d0e7d11';
const RESET = { realm: REALM, subject: 'ann', reason: 'lost her phone, ticket 1', requestId: '' };

describe('an operator who resets a person', () => {
  it('removes factors, codes and pending enrolments, revokes devices, ends sessions, and restores the budget', async () => {
    const world = personWorld();
    await world.hold('totp');
    await world.hold('sms', 'PENDING');
    const { deviceToken, token } = await world.signIn();
    const theirs = await world.signIn('bob');
    await world.stores.attempts.spend({ realm: REALM, subject: 'ann', limits: LIMITS, now: world.clock.now() });
    await world.operations.reset(OPERATOR, RESET);
    expect(await world.stores.factors.list(REALM, 'ann', world.clock.now())).toEqual([]);
    expect(await world.devices.list(REALM, 'ann')).toEqual([]);
    expect(await world.show(deviceToken)).toEqual({ outcome: 'refused' });
    expect(await world.isGood(token)).toBe(false);
    expect((await world.stores.attempts.read(REALM, 'ann')).consecutive).toBe(0);
    expect(await world.isGood(theirs.token)).toBe(true);
    expect(await world.devices.list(REALM, 'bob')).toHaveLength(1);
    expect(world.eventsOf('session.ended')).toMatchObject([
      { subject: 'ann', reason: 'OPERATOR', caller: OPERATOR.name },
    ]);
    expect(world.eventsOf('subject.reset')).toMatchObject([
      { subject: 'ann', outcome: 'SUCCESS', caller: OPERATOR.name, facts: { note: RESET.reason } },
    ]);
  });

  it('is told a pass of 80 bits once; only a keyed digest of it is stored, and it has an end', async () => {
    const world = personWorld();
    const { pass, expiresAt } = await world.operations.reset(OPERATOR, RESET);
    expect(pass).toMatch(/^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}$/);
    expect(expiresAt).toBe(world.clock.now() + HOUR);
    const stored = await world.stores.subjects.pass(REALM, 'ann');
    const symbols = parseTemporaryPass(pass) ?? '';
    expect(stored).toEqual({
      digest: world.digest.digest(PASS_PURPOSE, passDigestInput(REALM, 'ann', symbols)),
      expiresAt,
    });
    const notices = await world.stores.notices.lease(world.clock.now(), SECOND, 10);
    const everything = JSON.stringify([world.audit.events, world.log.lines, notices]);
    expect(everything).not.toContain(pass);
    expect(everything).not.toContain(symbols);
  });

  it('puts a new pass in place of the older one', async () => {
    const world = personWorld();
    const first = await world.operations.reset(OPERATOR, RESET);
    const second = await world.operations.reset(OPERATOR, RESET);
    expect(second.pass).not.toBe(first.pass);
    const stored = await world.stores.subjects.pass(REALM, 'ann');
    const digest = world.digest.digest(
      PASS_PURPOSE,
      passDigestInput(REALM, 'ann', parseTemporaryPass(second.pass) ?? ''),
    );
    expect(stored?.digest).toEqual(digest);
  });

  it('gets the same pass for a repeated request, which ends nothing that was begun since', async () => {
    const world = personWorld();
    const before = await world.signIn();
    const command = { ...RESET, requestId: REQUEST_ID };
    const answers = await Promise.all([1, 2, 3].map(() => world.operations.reset(OPERATOR, command)));
    world.clock.advance(MINUTE);
    const since = await world.signIn();
    const again = await world.operations.reset(OPERATOR, command);
    expect(new Set([...answers, again].map(({ pass }) => pass)).size).toBe(1);
    expect(again.expiresAt).toBe(answers[0]?.expiresAt);
    expect(await world.isGood(before.token)).toBe(false);
    expect(await world.isGood(since.token)).toBe(true);
    expect(world.eventsOf('subject.reset')).toHaveLength(1);
    await expect(world.operations.reset(OPERATOR, { ...command, subject: 'bob' })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  it('has the store take note, with a repeat, of sessions that were ended the first time', async () => {
    const world = personWorld();
    const { session } = await world.signIn();
    const command = { ...RESET, requestId: REQUEST_ID };
    await world.operations.reset(OPERATOR, command);
    const { endings } = world.sessions;
    const end = endings.end.bind(endings);
    const asked: unknown[] = [];
    endings.end = (...call) => {
      asked.push(call[1]);
      return end(...call);
    };
    await world.operations.reset(OPERATOR, command);
    expect(asked).toEqual([{ kind: 'ids', sessionIds: [session.id], subject: 'ann' }]);
    expect(world.eventsOf('session.ended')).toHaveLength(1);
  });

  it('ends with a repeat the sessions that the first request could not end', async () => {
    const world = personWorld();
    const { token } = await world.signIn();
    const command = { ...RESET, requestId: REQUEST_ID };
    const { endings } = world.sessions;
    const end = endings.end.bind(endings);
    endings.end = () => Promise.reject(new Error('the store went away'));
    await expect(world.operations.reset(OPERATOR, command)).rejects.toThrow('the store went away');
    expect(await world.isGood(token)).toBe(true);
    endings.end = end;
    await world.operations.reset(OPERATOR, command);
    expect(await world.isGood(token)).toBe(false);
  });

  it('has the person told of it', async () => {
    const world = personWorld();
    await world.operations.reset(OPERATOR, RESET);
    const waiting = await world.stores.notices.lease(world.clock.now(), SECOND, 10);
    expect(waiting.map(({ type, subject }) => [type, subject])).toEqual([['subject.reset', 'ann']]);
  });
});

describe('an operator who unlocks a person', () => {
  it('thaws what the person’s own word froze, and nothing else', async () => {
    const world = personWorld();
    await world.hold('push');
    await world.hold('sms');
    const freeze = { realm: REALM, subject: 'ann', events: [] } as const;
    await world.stores.factors.freeze({ ...freeze, methods: ['push'], reason: 'NOT_ME' });
    await world.stores.factors.freeze({ ...freeze, methods: ['sms'], reason: 'CONSENT_WITHDRAWN' });
    await world.operations.unlock(OPERATOR, REALM, 'ann', 'called back');
    const held = await world.stores.factors.list(REALM, 'ann', world.clock.now());
    expect(held.map(({ method, freezeReason }) => [method, freezeReason])).toEqual([
      ['push', undefined],
      ['sms', 'CONSENT_WITHDRAWN'],
    ]);
    expect(world.eventsOf('factor.thawed')).toMatchObject([{ reason: 'NOT_ME', facts: { note: 'called back' } }]);
  });

  it('lifts the stop of the person’s own word', async () => {
    const world = personWorld();
    const notice = {
      id: 'evt_1',
      realm: REALM,
      subject: 'ann',
      type: 'factor.enrolled',
      at: world.clock.now(),
    } as const;
    await world.notMe.confirm(VISIT, world.links.urlFor(notice).split('#')[1] ?? '');
    expect(await world.operations.unlock(OPERATOR, REALM, 'ann', 'called back')).toEqual({ wasLocked: true });
    const spend = { realm: REALM, subject: 'ann', limits: LIMITS, now: world.clock.now() };
    expect((await world.stores.attempts.spend(spend)).outcome).toBe('spent');
    expect(await world.operations.unlock(OPERATOR, REALM, 'bob', 'by mistake')).toEqual({ wasLocked: false });
  });
});
