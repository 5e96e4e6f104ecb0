import { describe, expect, it } from 'vitest';
import { systemClock, systemRandom } from '#src/adapters/system.ts';

describe('system randomness', () => {
  it('never hands out the same bytes twice across pool refills', () => {
    const seen = new Set<string>();
    for (let i = 0; i < 5_000; i += 1) seen.add(Buffer.from(systemRandom.bytes(16)).toString('hex'));
    expect(seen.size).toBe(5_000);
  });

  it('fills long requests completely', () => {
    const bytes = systemRandom.bytes(10_000);
    expect(bytes).toHaveLength(10_000);
    expect(new Set(bytes).size).toBe(256);
  });

  it('keeps what was handed out apart from the pool', () => {
    const first = systemRandom.bytes(16);
    const copy = Uint8Array.from(first);
    systemRandom.bytes(16);
    expect(first).toEqual(copy);
  });
});

describe('system clock', () => {
  it('does not fire a timer at once when the delay overflows 32 bits', async () => {
    let fired = false;
    const cancel = systemClock.schedule(2 ** 40, () => {
      fired = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(fired).toBe(false);
    cancel();
  });

  it('does not fire a cancelled timer', async () => {
    let fired = false;
    systemClock.schedule(1, () => {
      fired = true;
    })();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(fired).toBe(false);
  });
});
