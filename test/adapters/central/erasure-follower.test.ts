import { beforeEach, describe, expect, it } from 'vitest';
import { ErasureFollower } from '#src/adapters/central/erasure-follower.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import { ManualClock } from '../../support/clock.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

let clock: ManualClock;
let log: RecordingLog;
/** Positions that are committed, in any order. */
let committed: number[];
let asked: number[];
let forgotten: string[];
let done: number[];
let failure: Error | undefined;

beforeEach(() => {
  clock = new ManualClock();
  log = new RecordingLog();
  [committed, asked, forgotten, done] = [[], [], [], []];
  failure = undefined;
});

function follower(begin = 0): ErasureFollower {
  return new ErasureFollower({
    subjects: {
      async erasuresAfter(position, limit) {
        asked.push(position);
        if (failure) throw failure;
        const after = committed.filter((one) => one > position).sort((a, b) => a - b);
        return after.slice(0, limit).map((one) => ({ position: one, realm: 'default', subjectRef: `ref${one}` }));
      },
    },
    begin: async () => begin,
    forget: async (erased) => void forgotten.push(...erased),
    done: async (through) => void done.push(through),
    clock,
    log,
  });
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

describe('following who was erased', () => {
  it('begins where an earlier life got to, and looks again every two seconds', async () => {
    committed = [1, 2, 3];
    const following = follower(2);
    await following.start();
    expect(forgotten).toEqual(['ref3']);
    committed.push(4);
    clock.advance(2 * SECOND);
    await following.look();
    expect(forgotten).toEqual(['ref3', 'ref4']);
    expect(done).toEqual([3, 4]);
    await following.stop();
  });

  it('passes each one on once, page by page', async () => {
    committed = upTo(1_234);
    const following = follower();
    await following.look();
    await following.look();
    expect(forgotten).toEqual(upTo(1_234).map((position) => `ref${position}`));
    expect(asked.at(-1)).toBe(1_234);
  });

  it('misses none that is committed later than one behind it', async () => {
    committed = [1, 3, 4];
    const following = follower();
    await following.look();
    expect(forgotten).toEqual(['ref1', 'ref3', 'ref4']);
    expect(done).toEqual([1]);
    committed.push(2);
    await following.look();
    expect(forgotten).toEqual(['ref1', 'ref3', 'ref4', 'ref2']);
    expect(done).toEqual([1, 4]);
  });

  it('waits a minute for a position that was never committed, then goes on behind it', async () => {
    committed = [1, 3];
    const following = follower();
    await following.look();
    clock.advance(MINUTE - 1);
    await following.look();
    expect(done).toEqual([1]);
    clock.advance(1);
    await following.look();
    expect(done).toEqual([1, 3]);
    expect(forgotten).toEqual(['ref1', 'ref3']);
  });

  it('does not say that it is done with what could not be forgotten', async () => {
    committed = [1];
    let broken = true;
    const following = new ErasureFollower({
      subjects: { erasuresAfter: async () => [{ position: 1, realm: 'default', subjectRef: 'ref1' }] },
      begin: async () => 0,
      async forget() {
        if (broken) throw new Error('not now');
        forgotten.push('ref1');
      },
      done: async (through) => void done.push(through),
      clock,
      log,
    });
    await expect(following.look()).rejects.toThrow('not now');
    expect(done).toEqual([]);
    broken = false;
    await following.look();
    expect([forgotten, done]).toEqual([['ref1'], [1]]);
  });

  it('tells once of a database that does not answer, and goes on when it does', async () => {
    failure = new Error('away');
    const following = follower();
    await following.start();
    for (let look = 0; look < 3; look += 1) await following.look().catch(() => {});
    expect(log.lines).toHaveLength(1);
    failure = undefined;
    committed = [1];
    await following.look();
    expect(forgotten).toEqual(['ref1']);
    await following.stop();
  });

  it('looks once more for those who ask while it looks', async () => {
    committed = [1];
    const following = follower();
    const first = following.look();
    committed.push(2);
    await Promise.all([first, following.look()]);
    expect(forgotten).toEqual(['ref1', 'ref2']);
  });
});
