import { describe, expect, it } from 'vitest';
import { DAY, MINUTE } from '#src/domain/time.ts';
import { APP, challengeWorld, factorOf, openCommand, REALM, refOf, totp } from '../../support/challenge-world.ts';
import { settle } from '../../support/clock.ts';

describe('open challenges', () => {
  it('end EXPIRED within a second of their time, with event and signal', async () => {
    const world = challengeWorld();
    world.expiry.start();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const told: string[] = [];
    world.signals.onChallenge(challenge.id, ({ state }) => told.push(state));
    await world.clock.advanceSlowly(59_900);
    expect(told).toEqual([]);
    await world.clock.advanceSlowly(1_100);
    expect(told).toEqual(['EXPIRED']);
    expect(world.eventsOf('challenge.expired')).toMatchObject([
      { challengeId: challenge.id, subject: 'ann', outcome: 'REFUSED', caller: 'sidecar' },
    ]);
    await world.expiry.stop();
  });

  it('end at their time although the wall clock is set back meanwhile, and a right code comes too late', async () => {
    const world = challengeWorld();
    world.expiry.start();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(30_000);
    world.clock.setWall(world.clock.now() - 60 * MINUTE);
    const later = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(29_500);
    expect(world.state.ends.get(challenge.id)).toBeUndefined();
    await world.clock.advanceSlowly(1_500);
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    await expect(
      world.verification.answer(APP, { ...refOf(challenge), proof: totp('111111'), requestId: '' }),
    ).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED' });
    // What was opened after the step has its own minute, no more and no less.
    expect(world.state.ends.get(later.challenge.id)).toBeUndefined();
    await world.clock.advanceSlowly(31_000);
    expect(world.state.ends.get(later.challenge.id)).toEqual(['EXPIRED']);
    await world.expiry.stop();
  });

  it('end although the store failed at the very moment that the wall clock was set back', async () => {
    const world = challengeWorld();
    world.expiry.start();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(30_000);
    world.clock.setWall(world.clock.now() - 45_000);
    world.state.failure = new Error('disk');
    await world.clock.advanceSlowly(2_000);
    world.state.failure = undefined;
    await world.clock.advanceSlowly(27_000);
    expect(world.state.ends.get(challenge.id)).toBeUndefined();
    await world.clock.advanceSlowly(2_000);
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    await world.expiry.stop();
  });

  it('left by a crash end when the next life starts', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    world.clock.advance(10 * MINUTE);
    const next = world.sidecar();
    next.expiry.start();
    await settle();
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    await next.expiry.stop();
  });

  it('opened through another sidecar end within seconds', async () => {
    const world = challengeWorld();
    const other = world.sidecar();
    other.expiry.start();
    await world.clock.advanceSlowly(3_000);
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(66_000);
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    await other.expiry.stop();
  });

  it('end in their thousands on one timer, each once', async () => {
    const world = challengeWorld({ maxOpenChallenges: 10_000 });
    world.expiry.start();
    const count = 3_000;
    for (let i = 0; i < count; i++) {
      const subject = `p${i % 100}`;
      if (i < 100) world.factors.push(factorOf('totp', { id: `fac_${subject}`, subject }));
    }
    await Promise.all(
      Array.from({ length: count }, (_, i) => world.challenges.open(APP, openCommand({ subject: `p${i % 100}` }))),
    );
    expect(world.clock.pending).toBe(1);
    await world.clock.advanceSlowly(59_000, 1_000);
    await world.clock.advanceSlowly(1_500, 10);
    expect(world.eventsOf('challenge.expired')).toHaveLength(count);
    expect([...world.state.ends.values()].every((ends) => ends.length === 1)).toBe(true);
    await world.expiry.stop();
  });

  it('that could not be ended are tried again, a second later', async () => {
    const world = challengeWorld();
    world.expiry.start();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(59_000);
    world.state.failure = new Error('away');
    await world.clock.advanceSlowly(3_000);
    const warnings = world.log.lines.filter((line) => line.startsWith('warn')).length;
    expect(warnings).toBeGreaterThan(0);
    expect(warnings).toBeLessThan(6);
    world.state.failure = undefined;
    await world.clock.advanceSlowly(1_500);
    expect(world.state.ends.get(challenge.id)).toEqual(['EXPIRED']);
    await world.expiry.stop();
  });

  it('are left alone once it has stopped, and nothing is scheduled any more', async () => {
    const world = challengeWorld();
    world.expiry.start();
    await world.challenges.open(APP, openCommand());
    await world.expiry.stop();
    expect(world.clock.pending).toBe(0);
    world.clock.advance(MINUTE);
    await settle();
    expect(world.state.ends.size).toBe(0);
  });
});

describe('challenges long over', () => {
  it('are collected', async () => {
    const world = challengeWorld();
    world.expiry.start();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.clock.advanceSlowly(61_000, 250);
    world.clock.advance(DAY);
    await world.clock.advanceSlowly(MINUTE + 6_000, 1_000);
    expect(world.state.get(REALM, challenge.id)).toBeUndefined();
    await world.expiry.stop();
  });
});
