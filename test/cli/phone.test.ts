import { afterEach, expect, it, vi } from 'vitest';
import { Phone } from '#src/cli/phone.ts';
import { SECOND } from '#src/domain/time.ts';
import { seedOfManualKey, totpManualKey, verifyTotp } from '#src/domain/totp.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('makes codes of which each is good at once, in order, and for the rest of this step and the next', async () => {
  const key = totpManualKey(new Uint8Array(20).fill(7));
  const secret = seedOfManualKey(key);
  const begun = Date.UTC(2026, 10, 22, 12, 0, 29, 999);
  vi.useFakeTimers({ toFake: ['Date'], now: begun });
  const phone = new Phone(key, undefined);
  let afterStep = -1;
  for (const code of [await phone.code(''), await phone.code('')]) {
    const stepOf = (now: number) => verifyTotp({ secret, code, now, driftSteps: 0, window: 1, afterStep })?.step;
    const step = stepOf(begun);
    expect(step).toBeGreaterThan(afterStep);
    expect([stepOf(begun + SECOND), stepOf(begun + 30 * SECOND)]).toEqual([step, step]);
    afterStep = step ?? 0;
  }
});
