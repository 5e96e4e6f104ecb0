import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RedisServer } from '../../../scripts/servers/redis.ts';
import { DoomedSessions } from '../../support/doomed-sessions.ts';
import { Fleet } from '../../support/fleet.ts';
import { goThrough, whenWell } from '../../support/redis-trouble.ts';
import { TRAFFIC_SETTINGS } from '../../support/traffic.ts';

/** Word is lost while all subscriptions still stand: the database is asked every two seconds then. */
const NO_WORD_MS = 2_500;

/** One fleet for all: that it goes through one trouble after the other without a restart is a part of the promise. */
describe('three sidecars keep all promises while their Redis', () => {
  let fleet: Fleet;
  let redis: RedisServer;
  beforeAll(async () => {
    fleet = await Fleet.start({ settings: TRAFFIC_SETTINGS });
    const [server] = fleet.redis.servers;
    if (!server) throw new Error('there is no Redis');
    redis = server;
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('is killed and comes back with the data that it had', async () => {
    let data = '';
    await goThrough(fleet, {
      name: 'killed',
      begin: async () => {
        data = await redis.snapshot();
        await redis.kill();
      },
      end: () => redis.restart(data),
    });
  });

  it('is frozen for five seconds and thaws', async () => {
    await goThrough(fleet, { name: 'frozen', begin: () => redis.freeze(), lastsMs: 5_000, end: () => redis.thaw() });
  });

  it('is made a replica and refuses writes', async () => {
    await goThrough(fleet, {
      name: 'read-only',
      begin: async () => {
        await redis.cli('REPLICAOF', '127.0.0.1', '1');
      },
      end: async () => {
        await redis.cli('REPLICAOF', 'NO', 'ONE');
      },
      toldMs: NO_WORD_MS,
    });
  });

  it('is out of memory and may evict nothing', async () => {
    await goThrough(fleet, {
      name: 'out of memory',
      begin: async () => {
        await redis.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
        await redis.cli('CONFIG', 'SET', 'maxmemory', '1');
      },
      end: async () => {
        await redis.cli('CONFIG', 'SET', 'maxmemory', '0');
      },
      toldMs: NO_WORD_MS,
    });
  });

  it('is busy with a script that does not end', async () => {
    await redis.cli('CONFIG', 'SET', 'busy-reply-threshold', '20');
    let script: Promise<unknown> = Promise.resolve();
    await goThrough(fleet, {
      name: 'busy',
      begin: async () => {
        script = redis.cli('EVAL', 'while true do end', '0').catch(() => {});
        await pause(100);
      },
      end: async () => {
        await redis.cli('SCRIPT', 'KILL');
        await script;
      },
    });
  });

  it('forgets all data and all scripts, again and again', async () => {
    await goThrough(fleet, {
      name: 'flushed',
      begin: async () => {
        for (let times = 0; times < 10; times += 1) {
          await redis.cli('FLUSHALL');
          await redis.cli('SCRIPT', 'FLUSH');
          await pause(150);
        }
      },
      end: async () => {},
      degrades: [],
    });
  });

  it('comes back with what it held before people signed out and stepped up', async () => {
    await goThrough(fleet, {
      name: 'old dump',
      begin: async (traffic) => {
        const doomed = await DoomedSessions.make(fleet, `old-dump-${traffic.record.calls.length}`);
        const old = await redis.snapshot();
        await doomed.end();
        await pause(1_500);
        await redis.restart(old);
        expect(Number(await redis.cli('DBSIZE')), 'what is in the dump').toBeGreaterThan(20);
        expect(await doomed.wrong(), 'right after the restart').toEqual([]);
        await whenWell(fleet);
        expect(await doomed.wrong(), 'when Redis is used again').toEqual([]);
      },
      end: async () => {},
      degrades: [],
    });
  });

  it('held before it all, for a sidecar that has just started', async () => {
    const doomed = await DoomedSessions.make(fleet, 'before-the-start');
    const old = await redis.snapshot();
    await doomed.end();
    await redis.restart(old);
    await fleet.restart(2);
    expect(await doomed.wrong()).toEqual([]);
  });
});
