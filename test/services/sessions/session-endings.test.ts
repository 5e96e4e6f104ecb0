import { describe, expect, it } from 'vitest';
import type { Signals } from '#src/ports/signals.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { SessionEndings } from '#src/services/sessions/session-endings.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';
import { RecordingAudit } from '../../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../../support/recording-telemetry.ts';
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
});
