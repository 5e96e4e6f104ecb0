import { describe, expect, it } from 'vitest';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import { FRESH_BUDGET } from '#src/domain/failure-budget.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import { personWorld, REALM, VISIT } from '../../support/person-world.ts';
import { OPERATOR } from '../../support/session-world.ts';

const LIMITS = { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 };

/** A person with a session, a trusted device and factors, and the link of a notice to them. */
async function attacked() {
  const world = personWorld();
  await world.hold('totp');
  await world.hold('push');
  const signedIn = await world.signIn();
  const notice = {
    id: 'evt_notice',
    realm: REALM,
    subject: 'ann',
    type: 'factor.enrolled',
    at: world.clock.now(),
  } as const;
  const token = world.links.urlFor(notice).split('#')[1] ?? '';
  const spend = (free = false) =>
    world.stores.attempts.spend({ realm: REALM, subject: 'ann', limits: LIMITS, now: world.clock.now(), free });
  return { ...world, ...signedIn, sessionToken: signedIn.token, token, notice, spend };
}

describe('the link "this was not me"', () => {
  it('has its token in the fragment, where no server and no log sees it, and says nothing in the clear', () => {
    const world = personWorld();
    const notice = { id: 'evt_1', realm: REALM, subject: 'ann', type: 'factor.enrolled', at: 0 } as const;
    const url = new URL(world.links.urlFor(notice));
    expect(url.href.startsWith('https://id.example.com/not-me#')).toBe(true);
    expect(Buffer.from(url.hash.slice(1), 'base64url').toString('latin1')).not.toMatch(/ann|evt_1/);
  });

  it('does not exist without a public listener', () => {
    const world = personWorld({ publicUrl: '' });
    expect(world.links.urlFor({ id: 'e', realm: REALM, subject: 'ann', type: 'factor.enrolled', at: 0 })).toBe('');
  });

  it('brings nobody back who was erased since, and counts again for whoever comes later by that name', async () => {
    const world = await attacked();
    const digest = world.digest.digest(ERASURE_MARK, markOf(REALM, 'ann'));
    world.clock.advance(MINUTE);
    await world.stores.subjects.erase({
      realm: REALM,
      subject: 'ann',
      mark: Buffer.from(digest).toString('base64url'),
      now: world.clock.now(),
      events: [],
    });
    expect(await world.notMe.confirm(VISIT, world.token)).toBe(false);
    expect(await world.stores.attempts.read(REALM, 'ann')).toEqual(FRESH_BUDGET);
    expect(world.eventsOf('subject.reported_not_me')).toEqual([]);
    const other = world.links.urlFor({ ...world.notice, id: 'evt_bob', subject: 'bob' }).split('#')[1] ?? '';
    expect(await world.notMe.confirm(VISIT, other)).toBe(true);
    world.clock.advance(MINUTE);
    const later = { ...world.notice, id: 'evt_later', at: world.clock.now() };
    expect(await world.notMe.confirm(VISIT, world.links.urlFor(later).split('#')[1] ?? '')).toBe(true);
  });

  it('changes nothing when it is looked at, as mail programs do', async () => {
    const world = await attacked();
    for (let look = 0; look < 3; look += 1) {
      expect(await world.notMe.view(VISIT, world.token)).toEqual({
        type: 'factor.enrolled',
        at: world.notice.at,
        done: false,
      });
    }
    expect(await world.isGood(world.sessionToken)).toBe(true);
    expect((await world.spend()).outcome).toBe('spent');
  });

  it('locks the person, ends every session, forgets every device, freezes push, and raises the alarm', async () => {
    const world = await attacked();
    expect(await world.notMe.confirm(VISIT, world.token)).toBe(true);
    expect(await world.notMe.view(VISIT, world.token)).toMatchObject({ done: true });
    expect(await world.spend()).toMatchObject({ outcome: 'locked', hard: true });
    expect(await world.spend(true)).toMatchObject({ outcome: 'locked', hard: true });
    world.clock.advance(30 * DAY);
    expect((await world.spend()).outcome).toBe('locked');
    expect(await world.isGood(world.sessionToken)).toBe(false);
    expect(await world.show(world.deviceToken)).toEqual({ outcome: 'refused' });
    const held = await world.stores.factors.list(REALM, 'ann', world.clock.now());
    expect(held.find(({ method }) => method === 'push')?.freezeReason).toBe('NOT_ME');
    expect(world.eventsOf('subject.reported_not_me')).toMatchObject([
      { subject: 'ann', caller: 'public', reason: 'NOT_ME', facts: { about: 'factor.enrolled' } },
    ]);
    expect(world.eventsOf('device.revoked')).toMatchObject([{ reason: 'NOT_ME' }]);
    expect(world.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(1);
    expect(world.log.lines.join()).not.toContain('ann');
  });

  it('ends an enrolment that was begun before, so that no confirmation lifts the lock', async () => {
    const world = await attacked();
    const pending = await world.hold('webauthn', 'PENDING');
    await world.notMe.confirm(VISIT, world.token);
    const confirmed = await world.stores.factors.confirm({
      realm: REALM,
      subject: 'ann',
      factorId: pending.id,
      proof: { kind: 'made', sealedSecret: new Uint8Array(1), uniqueDigest: new Uint8Array(32), signCount: 0 },
      now: world.clock.now(),
      events: [],
      replacedEvents: [],
      backupEvents: [],
    });
    expect(confirmed.outcome).toBe('missing');
    expect((await world.spend()).outcome).toBe('locked');
  });

  it('voids the pass of a reset that was not asked for', async () => {
    const world = await attacked();
    await world.operations.reset(OPERATOR, { realm: REALM, subject: 'ann', reason: 'a caller said so', requestId: '' });
    await world.notMe.confirm(VISIT, world.token);
    await world.operations.unlock(OPERATOR, REALM, 'ann', 'called back');
    expect(await world.stores.subjects.pass(REALM, 'ann')).toMatchObject({ expiresAt: 0 });
  });

  it('acts once, however often and from how many places it is opened at once', async () => {
    const world = await attacked();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => world.notMe.confirm(VISIT, world.token)));
    expect(outcomes).toEqual(outcomes.map(() => true));
    expect(world.eventsOf('subject.reported_not_me')).toHaveLength(1);
    expect(world.eventsOf('session.ended')).toHaveLength(1);
  });

  it('is worth nothing once an operator has unlocked the person', async () => {
    const world = await attacked();
    await world.notMe.confirm(VISIT, world.token);
    await world.operations.unlock(OPERATOR, REALM, 'ann', 'called back');
    const { token } = await world.signIn();
    expect(await world.notMe.confirm(VISIT, world.token)).toBe(false);
    expect((await world.spend()).outcome).toBe('spent');
    expect(await world.isGood(token)).toBe(true);
  });

  it('goes on with the rest when a part failed, and the parts do not wait for one another', async () => {
    const world = await attacked();
    const { endings } = world.sessions;
    const end = endings.end.bind(endings);
    endings.end = () => Promise.reject(new Error('the store went away'));
    await expect(world.notMe.confirm(VISIT, world.token)).rejects.toThrow('the store went away');
    expect((await world.spend()).outcome).toBe('locked');
    expect(await world.devices.list(REALM, 'ann')).toEqual([]);
    expect(await world.isGood(world.sessionToken)).toBe(true);
    endings.end = end;
    expect(await world.notMe.confirm(VISIT, world.token)).toBe(true);
    expect(await world.isGood(world.sessionToken)).toBe(false);
  });

  it('is over at its exact instant', async () => {
    const world = await attacked();
    world.clock.advance(7 * DAY - 1);
    expect(await world.notMe.view(VISIT, world.token)).toBeDefined();
    world.clock.advance(1);
    expect(await world.notMe.view(VISIT, world.token)).toBeUndefined();
    expect(await world.notMe.confirm(VISIT, world.token)).toBe(false);
    expect((await world.spend()).outcome).toBe('spent');
  });

  it('opens nothing after any change of one character, and nothing that is no link', async () => {
    const world = await attacked();
    for (let at = 0; at < world.token.length; at += 3) {
      const other = world.token[at] === 'A' ? 'B' : 'A';
      const edited = world.token.slice(0, at) + other + world.token.slice(at + 1);
      expect(await world.notMe.view(VISIT, edited)).toBeUndefined();
    }
    for (const text of ['', 'x', '..', 'é', 'A'.repeat(3_000), `${world.token}=`, world.sessionToken]) {
      expect(await world.notMe.confirm(VISIT, text)).toBe(false);
    }
    await world.trail.drain();
    expect(world.eventsOf('request.refused').length).toBeGreaterThan(0);
    expect((await world.spend()).outcome).toBe('spent');
  });

  it('tells the person once more, so that whoever locked them is not alone in knowing', async () => {
    const world = await attacked();
    await world.notMe.confirm(VISIT, world.token);
    const waiting = await world.stores.notices.lease(world.clock.now() + HOUR, SECOND, 100);
    expect(waiting.filter(({ type }) => type === 'subject.reported_not_me')).toHaveLength(1);
  });
});
