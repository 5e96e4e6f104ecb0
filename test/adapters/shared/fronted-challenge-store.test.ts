import { describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import { settle } from '../../support/clock.ts';
import { sharedWorld } from '../../support/shared-sidecars.ts';
import { challengeOf, eventOf, REALM } from '../../support/store-samples.ts';

async function world() {
  const made = sharedWorld();
  const [a, b] = [made.sidecar('a'), made.sidecar('b')];
  await Promise.all([a.start(), b.start()]);
  const challenge = challengeOf({ createdAt: made.clock.now(), expiresAt: made.clock.now() + 60_000 });
  await a.challenges.open({ challenge, maxOpen: 10, events: [] });
  await settle();
  const cancel = (from: typeof a) =>
    from.challenges.settle({
      realm: REALM,
      challengeId: challenge.id,
      to: 'CANCELLED',
      now: made.clock.now(),
      events: [eventOf('challenge.cancelled')],
    });
  const approve = (from: typeof a) =>
    from.challenges.approve({
      realm: REALM,
      challengeId: challenge.id,
      proof: { kind: 'totp', factorId: 'fac_1', step: 1, driftSteps: 0 },
      method: 'totp',
      receiptId: 'rcp_1',
      receiptExpiresAt: made.clock.now() + 60_000,
      now: made.clock.now(),
      events: [],
    });
  const stateAt = async (from: typeof a) => (await from.challenges.read(REALM, challenge.id))?.state;
  const copied = (): Challenge | undefined => made.redis.challenges.get(`${REALM}\n${challenge.id}`);
  return { ...made, a, b, challenge, cancel, approve, stateAt, copied };
}

describe('challenges in front of the database', () => {
  it('are copied with every step that is durable', async () => {
    const { a, challenge, approve, copied, clock } = await world();
    expect(copied()?.state).toBe('PENDING');
    const step = { realm: REALM, challengeId: challenge.id, to: 'SEEN', now: clock.now() } as const;
    await a.challenges.advance({ ...step, chosenMethod: 'totp' });
    await settle();
    expect(copied()).toMatchObject({ state: 'SEEN', chosenMethod: 'totp' });
    expect((await approve(a)).outcome).toBe('approved');
    await settle();
    expect(copied()).toMatchObject({ state: 'APPROVED', receiptId: 'rcp_1' });
  });

  it('are read from the database while it answers: a copy that stayed behind misleads nobody', async () => {
    const { a, b, cancel, copied, stateAt } = await world();
    a.front.away = true;
    await cancel(a);
    await settle();
    expect(copied()?.state).toBe('PENDING');
    expect(await stateAt(b)).toBe('CANCELLED');
  });

  it('can be read without the database, open and ended, and granted or ended by nobody', async () => {
    const { a, b, challenge, approve, cancel, stateAt } = await world();
    b.losePostgres();
    expect(await stateAt(b)).toBe('PENDING');
    await expect(approve(b)).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(cancel(b)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await stateAt(b)).toBe('PENDING');
    await cancel(a);
    await settle();
    expect(await stateAt(b)).toBe('CANCELLED');
    await expect(b.challenges.read('other', challenge.id)).rejects.toMatchObject({ kind: 'unavailable' });
    await expect(b.challenges.read(REALM, 'chl_unknown')).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('are refused while Redis is away as well, or fails', async () => {
    const { b, stateAt } = await world();
    b.losePostgres();
    b.front.away = true;
    await expect(stateAt(b)).rejects.toMatchObject({ kind: 'unavailable' });
    b.loseRedis();
    const calls = b.front.calls.filter((call) => call === 'findChallenge').length;
    await expect(stateAt(b)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(b.front.calls.filter((call) => call === 'findChallenge')).toHaveLength(calls);
  });

  it('are decided by the database although the copy still is open', async () => {
    const { a, b, approve, cancel, redis, copied } = await world();
    const restore = redis.dump();
    await cancel(a);
    await settle();
    restore();
    expect(copied()?.state).toBe('PENDING');
    expect(await approve(b)).toMatchObject({ outcome: 'ended', challenge: { state: 'CANCELLED' } });
    expect(await cancel(b)).toMatchObject({ outcome: 'ended' });
  });

  it('are not copied as expired before that is durable', async () => {
    const { a, challenge, clock, copied } = await world();
    clock.advance(61_000);
    const step = { realm: REALM, challengeId: challenge.id, to: 'SEEN', now: clock.now() } as const;
    expect(await a.challenges.advance(step)).toMatchObject({ outcome: 'unchanged', challenge: { state: 'EXPIRED' } });
    await settle();
    expect(copied()?.state).toBe('PENDING');
  });
});
