import { describe, expect, it } from 'vitest';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { HOUR, SECOND } from '#src/domain/time.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { SessionUses } from '#src/services/sessions/session-uses.ts';
import { ManualClock } from '../../support/clock.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';
import { sessionOf } from '../../support/store-samples.ts';

describe('uses of sessions that wait to be told', () => {
  it('are bounded; those beyond are forgotten, which only lets a session idle sooner', async () => {
    const clock = new ManualClock();
    const log = new RecordingLog();
    const told: Parameters<SessionStore['touch']>[0][number][] = [];
    const store = { touch: async (batch: Parameters<SessionStore['touch']>[0]) => void told.push(...batch) };
    const uses = new SessionUses({ store, clock, log, flushMs: 5 * SECOND, maxPending: 2 });
    const cache = new SessionCache(new MemorySignals({ log }), 10);
    const start = clock.now();
    const entries = Array.from({ length: 4 }, () => {
      const session = sessionOf({ createdAt: start, lastUsedAt: start, expiresAt: start + HOUR });
      return cache.put(session, start, cache.fence());
    });
    clock.advance(SECOND);
    for (const entry of entries) uses.note(entry, clock.now());
    const [first, second] = entries;
    // The bound is on sessions, not on uses: those that wait go on being noted.
    clock.advance(SECOND);
    for (const entry of entries) uses.note(entry, clock.now());
    await uses.flush();
    expect(told).toEqual(
      [first, second].map((entry) => ({
        realm: entry?.session.realm,
        sessionId: entry?.session.id,
        lastUsedAt: start + 2 * SECOND,
      })),
    );
  });
});
