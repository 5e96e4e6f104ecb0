import { expect, it } from 'vitest';
import { isDeviceToken, newDeviceToken } from '#src/domain/device-token.ts';
import { isSessionToken, newSessionToken } from '#src/domain/session-token.ts';

const bytes = new Uint8Array(32).fill(7);

it('has a prefix of its own, 256 bits and a checksum', () => {
  const token = newDeviceToken(bytes);
  expect(token).toMatch(/^spd_[0-9A-Za-z]{49}$/);
  expect(isDeviceToken(token)).toBe(true);
  expect(() => newDeviceToken(new Uint8Array(16))).toThrow(RangeError);
});

it('is never taken for a session token, nor a session token for it', () => {
  expect(isSessionToken(newDeviceToken(bytes))).toBe(false);
  expect(isDeviceToken(newSessionToken(bytes))).toBe(false);
});

it('is refused after any change', () => {
  const token = newDeviceToken(bytes);
  for (let at = 0; at < token.length; at += 1) {
    const other = token[at] === 'x' ? 'y' : 'x';
    expect(isDeviceToken(token.slice(0, at) + other + token.slice(at + 1))).toBe(false);
  }
  for (const text of ['', 'spd_', `${token}0`, ` ${token}`, `${token}\n`]) expect(isDeviceToken(text)).toBe(false);
});
