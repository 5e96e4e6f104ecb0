import { describe, expect, it } from 'vitest';
import { DAY, HOUR, SECOND } from '#src/domain/time.ts';
import { sessionWorld } from '../../support/session-world.ts';

describe('the sweep', () => {
  it('ends what is due, each with its reason and event, also when nobody asks for it', async () => {
    const { sessions, signIn, isGood, clock, store, metrics } = sessionWorld({ cap: 1_000, idleMs: DAY + HOUR });
    const old = await signIn();
    clock.advance(HOUR);
    const young = await signIn();
    sessions.start();
    await clock.advanceSlowly(23 * HOUR - SECOND, HOUR);
    expect(store.sessions.get(old.session.id)?.endReason).toBeUndefined();
    await clock.advanceSlowly(11 * SECOND, SECOND);
    expect(store.sessions.get(old.session.id)?.endReason).toBe('EXPIRED');
    expect(await isGood(young.token)).toBe(true);
    expect(store.events.filter(({ type }) => type === 'session.ended')).toMatchObject([
      { reason: 'EXPIRED', outcome: 'INFO', caller: 'sidecar', sessionId: old.session.id },
    ]);
    expect(metrics.count('sessionEnded', 'EXPIRED')).toBe(1);
    await sessions.stop();
    expect(clock.pending).toBe(0);
  });

  it('takes any number of sessions, in batches', async () => {
    const { sessions, signIn, clock, store } = sessionWorld();
    await Promise.all(Array.from({ length: 450 }, (_, index) => signIn({ subject: `person-${index}` })));
    clock.advance(HOUR);
    expect(await sessions.sweep()).toBe(450);
    expect(store.count('end')).toBe(3);
    expect(await sessions.sweep()).toBe(0);
  });

  it('spares a session whose last use it has not told the store yet', async () => {
    const { sessions, signIn, isGood, clock, store } = sessionWorld({ flushMs: HOUR });
    const { token, session } = await signIn();
    clock.advance(HOUR - 1);
    expect(await isGood(token)).toBe(true);
    clock.advance(SECOND);
    expect(await sessions.sweep()).toBe(0);
    expect(store.sessions.get(session.id)?.endReason).toBeUndefined();
  });

  it('forgets ended sessions after the retention', async () => {
    const { sessions, signIn, clock, store } = sessionWorld({ retentionMs: DAY });
    await signIn();
    clock.advance(HOUR);
    await sessions.sweep();
    clock.advance(DAY);
    await sessions.sweep();
    expect(store.sessions.size).toBe(1);
    clock.advance(1);
    await sessions.sweep();
    expect(store.sessions.size).toBe(0);
  });

  it('goes on after the store was away', async () => {
    const { sessions, signIn, clock, store, log } = sessionWorld();
    const { session } = await signIn();
    sessions.start();
    store.failure = new Error('away');
    clock.advance(HOUR);
    await clock.advanceSlowly(10 * SECOND, SECOND);
    expect(log.lines.join('\n')).toContain('could not be swept');
    store.failure = undefined;
    await clock.advanceSlowly(11 * SECOND, SECOND);
    expect(store.sessions.get(session.id)?.endReason).toBe('IDLE');
    await sessions.stop();
  });
});
