import { describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Revocation, Session } from '#src/domain/session.ts';
import type { Signals } from '#src/ports/signals.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';

type Ended = readonly Omit<Revocation, 'position'>[];

/** News that a test can lose. */
class LossySignals implements Signals {
  live = true;
  generation = 0;
  readonly #listeners = new Set<(ended: Ended) => void>();
  readonly #changes = new Set<(sessionIds: readonly string[]) => void>();

  challengeChanged(_: Challenge): void {}
  onChallenge(): () => void {
    return () => {};
  }
  sessionsEnded(ended: Ended): void {
    this.generation += 1;
    for (const listener of this.#listeners) listener(ended);
  }
  onSessionsEnded(listener: (ended: Ended) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  sessionsChanged(sessionIds: readonly string[]): void {
    this.generation += 1;
    for (const listener of this.#changes) listener(sessionIds);
  }
  onSessionsChanged(listener: (sessionIds: readonly string[]) => void): () => void {
    this.#changes.add(listener);
    return () => this.#changes.delete(listener);
  }
}

function session(id: string): Session {
  return {
    id,
    realm: 'default',
    subject: 'ann',
    tokenDigest: `digest-${id}`,
    device: { ipAddress: '', userAgent: '', deviceId: '', browser: '', operatingSystem: '' },
    amr: [],
    acr: 'aal1',
    createdAt: 0,
    lastUsedAt: 0,
    expiresAt: 1_000,
    idleMs: 100,
    labels: {},
  };
}

function ended(id: string): Ended {
  return [{ realm: 'default', sessionId: id, subject: 'ann', reason: 'REVOKED', endedAt: 0 }];
}

function world(maxEntries = 10) {
  const signals = new LossySignals();
  const cache = new SessionCache(signals, maxEntries);
  const put = (id: string) => cache.put(session(id), 0, cache.fence());
  const has = (id: string, now = 0) => cache.get('default', `digest-${id}`, now) !== undefined;
  return { signals, cache, put, has };
}

describe('the session cache', () => {
  it('answers only for the realm it was read in and only within both limits', () => {
    const { cache, put, has } = world();
    put('a');
    expect(cache.get('other', 'digest-a', 0)).toBeUndefined();
    expect(has('a', 99)).toBe(true);
    expect(has('a', 100)).toBe(false);
    expect(has('a', 0)).toBe(false);
  });

  it('answers nothing while news may be missing, and forgets all of before afterwards', () => {
    const { signals, put, has } = world();
    put('a');
    signals.live = false;
    expect(has('a')).toBe(false);
    put('b');
    signals.live = true;
    signals.generation += 1;
    expect(has('a')).toBe(false);
    expect(has('b')).toBe(false);
    put('c');
    expect(has('c')).toBe(true);
  });

  it('notices a gap even when the first thing it sees after it is other news', () => {
    const { signals, put, has } = world();
    put('a');
    signals.generation += 1;
    signals.sessionsEnded(ended('x'));
    expect(has('a')).toBe(false);
  });

  it('forgets the session that ended and keeps the others', () => {
    const { signals, put, has } = world();
    put('a');
    put('b');
    signals.sessionsEnded(ended('a'));
    expect(has('a')).toBe(false);
    expect(has('b')).toBe(true);
  });

  it('forgets the session that another sidecar changed, and keeps the others', () => {
    const { signals, put, has } = world();
    put('a');
    put('b');
    signals.sessionsChanged(['a', 'unknown']);
    expect([has('a'), has('b')]).toEqual([false, true]);
    put('a');
    expect(has('a')).toBe(true);
    signals.generation += 1;
    signals.sessionsChanged(['x']);
    expect([has('a'), has('b')]).toEqual([false, false]);
  });

  it('holds one token of a session, so that no replaced one outlives the news', () => {
    const { signals, cache, put, has } = world();
    put('a');
    cache.put({ ...session('a'), tokenDigest: 'digest-rotated' }, 0, cache.fence());
    expect(has('a')).toBe(false);
    expect(cache.size).toBe(1);
    put('a');
    signals.sessionsChanged(['a']);
    expect(cache.size).toBe(0);
    expect(has('rotated')).toBe(false);
  });

  it('keeps nothing that was read before an end, a change, a drop or a gap', () => {
    const { signals, cache, has } = world();
    for (const meanwhile of [
      () => signals.sessionsEnded(ended('other')),
      () => signals.sessionsChanged(['other']),
      () => cache.drop('unknown'),
      () => cache.clear(),
      () => {
        signals.generation += 1;
      },
    ]) {
      const fence = cache.fence();
      meanwhile();
      expect(cache.put(session('a'), 0, fence).session.id).toBe('a');
      expect(has('a')).toBe(false);
    }
  });

  it('stays within its bound and prefers to keep what is used', () => {
    const { cache, put, has } = world(3);
    for (const id of ['a', 'b', 'c']) put(id);
    expect(has('a')).toBe(true);
    put('d');
    expect(cache.size).toBe(3);
    expect([has('a'), has('b'), has('c'), has('d')]).toEqual([true, false, true, true]);
    for (let i = 0; i < 100; i++) put(`more-${i}`);
    expect(cache.size).toBe(3);
  });

  it('keeps nothing with a bound of 0', () => {
    const { cache, put, has } = world(0);
    put('a');
    expect(has('a')).toBe(false);
    expect(cache.size).toBe(0);
  });
});
