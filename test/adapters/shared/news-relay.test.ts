import { describe, expect, it } from 'vitest';
import { type SharedSidecar, sharedWorld } from '../../support/shared-sidecars.ts';

const ids = (...sessionIds: string[]) => ({ kind: 'ids', sessionIds }) as const;

/** One sidecar that reaches Redis alone, one that reaches PostgreSQL alone, and some that reach both. */
async function split(healthy: number) {
  const made = sharedWorld();
  const onlyRedis = made.sidecar('only redis');
  const onlyPostgres = made.sidecar('only postgres');
  const others = Array.from({ length: healthy }, (_, index) => made.sidecar(`both ${index}`));
  const all = [onlyRedis, onlyPostgres, ...others];
  await Promise.all(all.map((sidecar) => sidecar.start()));
  const session = await onlyPostgres.create();
  await made.settle();
  expect(await onlyRedis.validate(session.tokenDigest)).toBe('store');
  onlyRedis.losePostgres();
  onlyPostgres.loseRedis();
  await made.clock.advanceSlowly(1_500, 50);
  expect(await onlyRedis.validate(session.tokenDigest)).toBe('memory');
  return { ...made, onlyRedis, onlyPostgres, others, all, session };
}

const said = (sidecars: readonly SharedSidecar[]) => sidecars.reduce((sum, { news }) => sum + news.said.length, 0);

describe('a change that a sidecar without Redis made', () => {
  it('is told to those without PostgreSQL by one that has both: an end', async () => {
    const { onlyRedis, onlyPostgres, session, clock } = await split(1);
    expect(await onlyPostgres.end(ids(session.id))).toBe('ended');
    await clock.advanceSlowly(3_000, 50);
    expect(onlyRedis.told).toEqual([`ended ${session.id}`]);
    expect(await onlyRedis.validate(session.tokenDigest)).toBe('unavailable');
  });

  it('is told to those without PostgreSQL by one that has both: a new token', async () => {
    const { onlyRedis, onlyPostgres, session, clock } = await split(1);
    expect(await onlyPostgres.rotate(session, 'next')).toBeDefined();
    await clock.advanceSlowly(3_000, 50);
    expect(onlyRedis.told).toEqual([`changed ${session.id}`]);
    expect(await onlyRedis.validate(session.tokenDigest)).toBe('unavailable');
  });

  it('is told by few of many, and by nobody when the word came in time', async () => {
    const { onlyPostgres, others, session, clock } = await split(20);
    const [first, ...rest] = others;
    const own = await first?.create();
    const before = said(others);
    await first?.end(ids(own?.id ?? ''));
    await clock.advanceSlowly(3_000, 10);
    expect([said(others) - before, said(rest)]).toEqual([1, 0]);
    await onlyPostgres.end(ids(session.id));
    await clock.advanceSlowly(3_000, 10);
    const relayed = said(others) - before - 1;
    expect(relayed).toBeGreaterThan(0);
    expect(relayed).toBeLessThan(5);
    for (const { told } of others) expect(told.filter((what) => what === `ended ${session.id}`)).toHaveLength(1);
  });
});
