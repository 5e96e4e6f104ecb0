import { expect, it } from 'vitest';
import { MINUTE } from '#src/domain/time.ts';
import { type Chore, Housekeeping } from '#src/services/housekeeping.ts';
import { ManualClock } from '../support/clock.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingLog } from '../support/recording-telemetry.ts';

function world(chores: readonly Chore[]) {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const keeping = new Housekeeping({ chores, everyMs: 10 * MINUTE, clock, random: new SeededRandom('keeping'), log });
  return { clock, log, keeping };
}

/** So many rows that are over, and how often and up to when they were asked to go. */
function rows(count: number, keepMs = 0): Chore & { left: number; readonly asked: number[] } {
  const asked: number[] = [];
  return {
    what: 'rows',
    keepMs,
    left: count,
    asked,
    async purge(before, limit) {
      asked.push(before);
      const gone = Math.min(limit, this.left);
      this.left -= gone;
      return gone;
    },
  };
}

const bound = (chore: ReturnType<typeof rows>): Chore => ({
  what: chore.what,
  keepMs: chore.keepMs,
  purge: (before, limit) => chore.purge(before, limit),
});

it('deletes what is over batch by batch, each kind after its own time', async () => {
  const [codes, devices] = [rows(1_200), rows(1, 5 * MINUTE)];
  const { clock, keeping } = world([bound(codes), bound(devices)]);
  expect(await keeping.round()).toBe(1_201);
  expect(codes.asked).toEqual(Array.from({ length: 3 }, () => clock.now()));
  expect(devices.asked).toEqual([clock.now() - 5 * MINUTE]);
});

it('bounds what one round does', async () => {
  const codes = rows(1_000_000);
  await world([bound(codes)]).keeping.round();
  expect(codes.left).toBe(990_000);
});

it('goes on with the next kind when one fails, and says so', async () => {
  const devices = rows(3);
  const failing: Chore = { what: 'codes', keepMs: 0, purge: () => Promise.reject(new Error('away')) };
  const { keeping, log } = world([failing, bound(devices)]);
  expect(await keeping.round()).toBe(3);
  expect(log.lines).toHaveLength(1);
});

it('comes round again and again until it is stopped', async () => {
  const codes = rows(0);
  const { clock, keeping } = world([bound(codes)]);
  keeping.start();
  for (let round = 0; round < 3; round += 1) {
    clock.advance(10 * MINUTE);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const rounds = codes.asked.length;
  expect(rounds).toBe(3);
  await keeping.stop();
  clock.advance(60 * MINUTE);
  await new Promise((resolve) => setImmediate(resolve));
  expect(codes.asked.length).toBe(rounds);
});
