import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { MINUTE } from '#src/domain/time.ts';
import { ChallengeEndings } from '#src/services/challenges/challenge-endings.ts';
import { LivePush } from '#src/services/challenges/live-push.ts';
import { Trail } from '#src/services/trail.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { ManualClock } from '../support/clock.ts';
import { twoSidecars } from '../support/postgres-stores.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingAudit } from '../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../support/recording-telemetry.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { challengeOf, person, REALM } from '../support/store-samples.ts';

const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: '' };

describe('push chosen at two sidecars at once, on PostgreSQL', () => {
  let server: PostgresServer;
  let stores: StoreFixture;
  beforeAll(async () => {
    server = await PostgresServer.start();
    stores = await twoSidecars(server)();
  });
  afterAll(async () => {
    await stores.close();
    await server[Symbol.asyncDispose]();
  });

  it('leaves exactly one live push of eight, round after round, and nobody is told otherwise', async () => {
    const { challenges } = stores;
    const clock = new ManualClock();
    const log = new RecordingLog();
    const metrics = new CountingMetrics();
    const random = new SeededRandom('live push');
    const trail = new Trail({
      audit: new RecordingAudit(),
      clock,
      random,
      metrics,
      log,
      foldMs: MINUTE,
      maxFolding: 9,
    });
    const signals = new MemorySignals({ log });
    const endings = new ChallengeEndings({ challenges, trail, signals, metrics, clock });
    const livePush = new LivePush({ challenges, endings, clock });

    const open = async (subject: string): Promise<Challenge> => {
      const now = clock.now();
      const challenge = challengeOf({ subject, createdAt: now, expiresAt: now + MINUTE });
      await challenges.open({ challenge, maxOpen: 20, events: [] });
      return challenge;
    };
    /** As choosing does it; the state in which it was left. */
    const choose = async (challenge: Challenge): Promise<string> => {
      const now = clock.now();
      await livePush.makeRoom(APP, challenge);
      const advance = { realm: REALM, challengeId: challenge.id, to: 'PENDING', chosenMethod: 'push', now } as const;
      const advanced = await challenges.advance(advance);
      if (advanced.outcome !== 'advanced') return 'ended';
      return (await livePush.settle(APP, advanced.challenge)).state;
    };

    for (let round = 0; round < 10; round += 1) {
      const subject = person();
      const all = await Promise.all(Array.from({ length: 8 }, () => open(subject)));
      const left = await Promise.all(all.map(choose));
      const stored = await Promise.all(all.map(({ id }) => challenges.read(REALM, id)));
      const alive = stored.flatMap((challenge, at) => (challenge?.state === 'PENDING' ? [at] : []));
      expect(alive).toHaveLength(1);
      expect(left[alive[0] ?? -1]).toBe('PENDING');
    }
  });
});
