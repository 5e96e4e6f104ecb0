import { describe, expect, it } from 'vitest';
import { ClockWatch, MOST_SKEW_MS } from '#src/adapters/postgres/clock-skew.ts';
import { ManualClock } from '../../support/clock.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

function watched() {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const database = { ahead: 0, away: false };
  const sql = {
    read: async () => {
      if (database.away) throw new Error('away');
      return [{ now: clock.now() + database.ahead }];
    },
  };
  return { clock, log, database, watch: new ClockWatch({ sql, clock, log, skewMs: 3 }) };
}

describe('the clocks of a sidecar that runs and of the database', () => {
  it('are compared each minute, with one alarm when they part and one word when they agree again', async () => {
    const { clock, log, database, watch } = watched();
    expect(watch.skewMs).toBe(3);
    await clock.advanceSlowly(61_000, 1_000);
    expect([watch.skewMs, log.lines]).toEqual([0, []]);
    database.ahead = MOST_SKEW_MS + 1;
    await clock.advanceSlowly(180_000, 1_000);
    expect(watch.skewMs).toBe(MOST_SKEW_MS + 1);
    expect(log.lines).toEqual([
      expect.stringMatching(/^error the clock of this machine is 10 s behind that of PostgreSQL/),
    ]);
    database.ahead = 0;
    await clock.advanceSlowly(61_000, 1_000);
    expect(log.lines.slice(1)).toEqual([expect.stringMatching(/^warn the clocks agree again/)]);
    await watch.stop();
  });

  it('are as last known while the database is away', async () => {
    const { clock, log, database, watch } = watched();
    database.away = true;
    await clock.advanceSlowly(180_000, 1_000);
    expect([watch.skewMs, log.lines]).toEqual([3, []]);
    database.away = false;
    database.ahead = 40;
    await clock.advanceSlowly(61_000, 1_000);
    expect(watch.skewMs).toBe(40);
    await watch.stop();
    database.ahead = 50;
    await clock.advanceSlowly(180_000, 1_000);
    expect(watch.skewMs).toBe(40);
  });
});
