import { describe, expect, it } from 'vitest';
import { AddressLimiter } from '#src/transport/public/address-limiter.ts';

function limiter(options: { readonly maxAddresses?: number } = {}) {
  let at = 0;
  const made = new AddressLimiter({ burst: 3, perSecond: 2, maxAddresses: 100, monotonic: () => at, ...options });
  return {
    made,
    pass: (ms: number) => {
      at += ms;
    },
  };
}

describe('the rate of an address', () => {
  it('is a burst, then so many a second, and never more after a rest', () => {
    const { made, pass } = limiter();
    expect([made.take('a'), made.take('a'), made.take('a')]).toEqual([0, 0, 0]);
    expect(made.take('a')).toBe(500);
    pass(499);
    expect(made.take('a')).toBeCloseTo(1);
    pass(1);
    expect(made.take('a')).toBe(0);
    pass(3_600_000);
    expect([made.take('a'), made.take('a'), made.take('a')]).toEqual([0, 0, 0]);
    expect(made.take('a')).toBeGreaterThan(0);
  });

  it('is its own', () => {
    const { made } = limiter();
    for (let i = 0; i < 5; i++) made.take('a');
    expect(made.take('b')).toBe(0);
  });

  it('is not paid by refused requests', () => {
    const { made, pass } = limiter();
    for (let i = 0; i < 100; i++) made.take('a');
    pass(500);
    expect(made.take('a')).toBe(0);
  });

  it('takes bounded memory: who was quiet longest is forgotten, who is busy is not', () => {
    const { made } = limiter({ maxAddresses: 10 });
    for (let i = 0; i < 4; i++) made.take('busy');
    for (let i = 0; i < 1_000; i++) {
      made.take(`address-${i}`);
      expect(made.take('busy')).toBeGreaterThan(0);
    }
    expect(made.size).toBe(10);
  });
});
