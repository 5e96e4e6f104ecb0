import { describe, expect, it } from 'vitest';
import type { Backlog } from '#src/adapters/audit/contract.ts';
import { ReadAhead } from '#src/adapters/local/read-ahead.ts';
import { settle } from '../../support/clock.ts';

const hashOf = (chainId: string, sequence: number) => Buffer.from(`${chainId} ${sequence}`);

/** A file with rows of one chain, and what was asked of it. */
function world(rows: number) {
  const asked: (readonly [limit: number, from: number])[] = [];
  const file = { chainId: 'a', rows, flushed: 0, failsAhead: false, isSetAside: false };
  const rowOf = (chainId: string, sequence: number) => ({
    chainId,
    sequence,
    previousHash: hashOf(chainId, sequence - 1),
    record: new Uint8Array(),
    hash: hashOf(chainId, sequence),
  });
  const read = (limit: number, from: number): Backlog => {
    const first = Math.max(from, file.flushed + 1);
    const length = Math.max(0, Math.min(limit, file.rows - first + 1));
    return {
      rows: Array.from({ length }, (_, index) => rowOf(file.chainId, first + index)),
      checkpoints: [],
      chains: [],
      keys: [],
      subjectKeys: [],
      waiting: { events: 0, bytes: 0, oldestAt: 0 },
    };
  };
  const ahead = new ReadAhead({
    backlog: async (limit, from) => {
      asked.push([limit, from]);
      if (file.failsAhead && from > 0) throw new Error('the file was set aside meanwhile');
      if (file.isSetAside && from > 0) Object.assign(file, { chainId: 'b', flushed: 0 });
      return read(limit, from);
    },
  });
  const next = async (limit: number) => (await ahead.backlog(limit)).rows.map(({ sequence }) => sequence);
  /** Central storage has everything up to here. */
  const flushed = (sequence: number) => {
    if (file.chainId === 'a') file.flushed = sequence;
    ahead.flushed(rowOf('a', sequence));
  };
  return { asked, file, next, flushed };
}

describe('reading ahead', () => {
  it('reads what comes next while a full backlog is stored, each row once', async () => {
    const { asked, next, flushed } = world(9);
    expect(await next(3)).toEqual([1, 2, 3]);
    expect(asked).toEqual([
      [3, 0],
      [3, 4],
    ]);
    flushed(3);
    expect(await next(3)).toEqual([4, 5, 6]);
    flushed(6);
    expect(await next(3)).toEqual([7, 8, 9]);
    expect(asked.slice(2)).toEqual([
      [3, 7],
      [3, 10],
    ]);
    flushed(9);
    expect(await next(3)).toEqual([]);
  });

  it('reads nothing ahead of a backlog that is all there is', async () => {
    const { asked, next } = world(2);
    await next(3);
    expect(asked).toEqual([[3, 0]]);
  });

  it('reads again what was not stored', async () => {
    const { next, flushed } = world(9);
    await next(3);
    expect(await next(3)).toEqual([1, 2, 3]);
    flushed(2);
    expect(await next(3)).toEqual([3, 4, 5]);
  });

  it('reads anew where another number of rows is asked for', async () => {
    const { next, flushed } = world(9);
    await next(3);
    flushed(3);
    expect(await next(2)).toEqual([4, 5]);
  });

  it('does not take a short one for the end, since rows may have come behind it', async () => {
    const { file, next, flushed } = world(4);
    await next(3);
    file.rows = 6;
    flushed(3);
    expect(await next(3)).toEqual([4, 5, 6]);
  });

  it('does not go on with a chain that is not the same any more', async () => {
    const { file, next, flushed } = world(9);
    await next(3);
    flushed(3);
    file.chainId = 'b';
    file.flushed = 0;
    // What was read ahead is of the chain before, and still good.
    expect(await next(3)).toEqual([4, 5, 6]);
    expect(await next(3)).toEqual([1, 2, 3]);
  });

  it('does not begin another chain in the middle', async () => {
    const { file, next, flushed } = world(9);
    file.isSetAside = true;
    await next(3);
    expect(file.chainId).toBe('b');
    flushed(3);
    expect(await next(3)).toEqual([1, 2, 3]);
  });

  it('reads again when reading ahead failed, which is nobody else’s fault', async () => {
    const { file, next, flushed } = world(9);
    file.failsAhead = true;
    await next(3);
    await settle();
    flushed(3);
    expect(await next(3)).toEqual([4, 5, 6]);
  });
});
