import { scryptSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ScryptSlowHash } from '#src/adapters/secrets/slow-hash.ts';

const salt = new Uint8Array(16).fill(7);
const value = (text: string) => new TextEncoder().encode(text);

describe('the slow hash', () => {
  it('is scrypt with N=2^14, r=8, p=1', async () => {
    const expected = scryptSync('code', salt, 32, { N: 16_384, r: 8, p: 1 });
    expect(await new ScryptSlowHash().hash(value('code'), salt)).toEqual(new Uint8Array(expected));
  });

  it('refuses what does not fit into its queue and goes on afterwards', async () => {
    const hash = new ScryptSlowHash({ parallel: 2, maxWaiting: 3 });
    const results = await Promise.allSettled(Array.from({ length: 9 }, (_, i) => hash.hash(value(String(i)), salt)));
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused).toHaveLength(4);
    for (const { reason } of refused) expect(reason).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(await hash.hash(value('0'), salt)).toHaveLength(32);
  });

  it('lets the event loop run while it works', async () => {
    const hash = new ScryptSlowHash();
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    const hashes = 16;
    await Promise.all(Array.from({ length: hashes }, (_, at) => hash.hash(value(String(at)), salt)));
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(hashes);
  });
});
