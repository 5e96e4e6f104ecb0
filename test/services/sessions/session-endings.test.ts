import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import type { Signals } from '#src/ports/signals.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { SessionEndings } from '#src/services/sessions/session-endings.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingAudit } from '../../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../../support/recording-telemetry.ts';
import { sessionWorld } from '../../support/session-world.ts';
import { sessionOf } from '../../support/store-samples.ts';

describe('the end of a session', () => {
  it('takes it out of the cache before the answer, also when the news of it takes its time', async () => {
    const clock = new ManualClock();
    const metrics = new CountingMetrics();
    const log = new RecordingLog();
    const sent: string[] = [];
    const slow: Signals = {
      live: true,
      generation: 0,
      challengeChanged: () => {},
      onChallenge: () => () => {},
      sessionsEnded: (ended) => void sent.push(...ended.map(({ sessionId }) => sessionId)),
      onSessionsEnded: () => () => {},
      onSessionsChanged: () => () => {},
    };
    const session = sessionOf({ createdAt: clock.now(), lastUsedAt: clock.now(), expiresAt: clock.now() + 60_000 });
    const cache = new SessionCache(slow, 10);
    cache.put(session, clock.now(), cache.fence());
    const isCached = () => cache.get(session.realm, session.tokenDigest, clock.now()) !== undefined;
    expect(isCached()).toBe(true);
    const audit = new RecordingAudit();
    const endings = new SessionEndings({
      store: { end: async ({ reason, now }) => [{ ...session, endReason: reason, endedAt: now }] },
      cache,
      signals: slow,
      trail: new Trail({ audit, clock, random: new SeededRandom(), metrics, log, foldMs: 1_000, maxFolding: 10 }),
      metrics,
      clock,
    });
    await endings.end(session.realm, { kind: 'ids', sessionIds: [session.id] }, 'REVOKED', undefined);
    expect(isCached()).toBe(false);
    expect(sent).toEqual([session.id]);
  });

  it('forgets what it may have ended when the store does not say, and no more', async () => {
    const { sessions, store, signIn, isGood } = sessionWorld();
    const [one, two] = [await signIn(), await signIn({ subject: 'bob' })];
    const reads = () => store.count('findByTokenDigest');
    for (const { token } of [one, two]) await isGood(token);
    store.failure = new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away');
    const ending = sessions.endings.end('default', { kind: 'ids', sessionIds: [one.session.id] }, 'REVOKED', undefined);
    await expect(ending).rejects.toThrow('away');
    store.failure = undefined;
    const before = reads();
    await isGood(two.token);
    expect(reads()).toBe(before);
    await isGood(one.token);
    expect(reads()).toBe(before + 1);
    store.failure = new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away');
    const all = { kind: 'subject', subject: 'ann', exceptSessionId: '' } as const;
    await expect(sessions.endings.end('default', all, 'REVOKED', undefined)).rejects.toThrow('away');
    store.failure = undefined;
    await isGood(two.token);
    expect(reads()).toBe(before + 2);
  });
});
