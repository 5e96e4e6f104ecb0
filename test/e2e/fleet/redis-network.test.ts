import { afterAll, beforeAll, describe, it } from 'vitest';
import { Fleet } from '../../support/fleet.ts';
import { goThrough } from '../../support/redis-trouble.ts';
import type { TcpProxy } from '../../support/tcp-proxy.ts';
import { TRAFFIC_SETTINGS } from '../../support/traffic.ts';

describe('three sidecars keep all promises while the network between them and their Redis', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.start({ proxies: true, settings: TRAFFIC_SETTINGS });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  const way = (index: number): TcpProxy => {
    const { redis } = fleet.paths(index);
    if (!redis) throw new Error('there is no proxy');
    return redis;
  };
  const ways = (act: (proxy: TcpProxy) => void) => async () => {
    for (const index of fleet.sidecars.keys()) act(way(index));
  };

  it('accepts connections and carries nothing', async () => {
    await goThrough(fleet, {
      name: 'hanging',
      begin: ways((proxy) => proxy.hang()),
      end: ways((proxy) => proxy.hang(false)),
    });
  });

  it('is gone without a word', async () => {
    await goThrough(fleet, {
      name: 'half-open',
      begin: ways((proxy) => proxy.halfOpen()),
      end: ways((proxy) => {
        proxy.halfOpen(false);
        proxy.cutAll();
      }),
    });
  });

  it('takes two seconds each way', async () => {
    await goThrough(fleet, {
      name: 'slow',
      begin: ways((proxy) => proxy.delay(2_000)),
      lastsMs: 5_000,
      end: ways((proxy) => proxy.delay(0)),
    });
  });

  it('cuts off one sidecar alone, of which the others then hear by the log only', async () => {
    await goThrough(fleet, {
      name: 'cut off',
      begin: async () => {
        way(0).refuse();
        way(0).cutAll();
      },
      end: async () => way(0).refuse(false),
      degrades: [0],
    });
  });
});
