import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RedisCluster } from '../../../scripts/servers/redis-cluster.ts';
import { DoomedSessions } from '../../support/doomed-sessions.ts';
import { Fleet } from '../../support/fleet.ts';
import { goThrough } from '../../support/redis-trouble.ts';
import { TRAFFIC_SETTINGS } from '../../support/traffic.ts';

const MOVES = 6;

describe('three sidecars keep all promises while in their Redis Cluster', () => {
  let fleet: Fleet;
  let cluster: RedisCluster;
  beforeAll(async () => {
    fleet = await Fleet.start({ redis: 'cluster', settings: TRAFFIC_SETTINGS });
    if (!fleet.redis.cluster) throw new Error('there is no Cluster');
    cluster = fleet.redis.cluster;
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('slots move to other nodes, with copies of sessions in them', async () => {
    await goThrough(fleet, {
      name: 'slots',
      begin: async (traffic) => {
        const doomed = await DoomedSessions.make(fleet, `slots-${traffic.record.calls.length}`);
        const [first] = cluster.nodes;
        const keys = (await first?.cli('KEYS', '*:session:*'))?.split('\n').filter((key) => key !== '') ?? [];
        expect(keys.length, 'copies at one node').toBeGreaterThan(0);
        for (const [number, key] of keys.slice(0, MOVES).entries()) {
          const slot = await cluster.slotOf(key);
          const others = cluster.nodes.filter((node) => node !== first);
          const to = others[number % others.length];
          // Half of the time people work while the slot is on its way.
          if (to) await cluster.moveSlot(slot, to, () => pause(number % 2 === 0 ? 400 : 0));
          if (number === 2) await doomed.end();
        }
        expect(await doomed.wrong()).toEqual([]);
      },
      end: async () => {},
      degrades: [],
    });
  });

  it('a node is killed, and comes back without its data', async () => {
    const [, node] = cluster.nodes;
    if (!node) throw new Error('there is no node');
    await goThrough(fleet, {
      name: 'node',
      begin: () => node.kill(),
      lastsMs: 4_000,
      end: () => node.restart(),
    });
  });
});
