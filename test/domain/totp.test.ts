import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  codeAt,
  isTotpCode,
  resynchronize,
  SEED_BYTES,
  seedOfManualKey,
  stepAt,
  type TotpForm,
  totpKeyUri,
  totpManualKey,
  verifyTotp,
} from '#src/domain/totp.ts';
import { SeededRandom } from '../support/random.ts';

const text = (value: string) => new TextEncoder().encode(value);
const SEEDS = {
  sha1: text('12345678901234567890'),
  sha256: text('12345678901234567890123456789012'),
  sha512: text('1234567890123456789012345678901234567890123456789012345678901234'),
};
const secret = SEEDS.sha1;
const NOW = 1_700_000_015_000;
const T = stepAt(NOW);
const check = (over: Partial<Parameters<typeof verifyTotp>[0]>) =>
  verifyTotp({ secret, code: codeAt(secret, T), now: NOW, driftSteps: 0, window: 1, afterStep: -1, ...over });

describe('RFC 6238 appendix B', () => {
  const rows: readonly [number, TotpForm['algorithm'], string][] = [
    [59, 'sha1', '94287082'],
    [59, 'sha256', '46119246'],
    [59, 'sha512', '90693936'],
    [1111111109, 'sha1', '07081804'],
    [1111111109, 'sha256', '68084774'],
    [1111111109, 'sha512', '25091201'],
    [1111111111, 'sha1', '14050471'],
    [1111111111, 'sha256', '67062674'],
    [1111111111, 'sha512', '99943326'],
    [1234567890, 'sha1', '89005924'],
    [1234567890, 'sha256', '91819424'],
    [1234567890, 'sha512', '93441116'],
    [2000000000, 'sha1', '69279037'],
    [2000000000, 'sha256', '90698825'],
    [2000000000, 'sha512', '38618901'],
    [20000000000, 'sha1', '65353130'],
    [20000000000, 'sha256', '77737706'],
    [20000000000, 'sha512', '47863826'],
  ];

  it.each(rows)('at %i s with %s the code is %s, and it verifies', (seconds, algorithm, code) => {
    const form: TotpForm = { algorithm, digits: 8 };
    const now = seconds * 1000;
    expect(codeAt(SEEDS[algorithm], stepAt(now), form)).toBe(code);
    const right = { secret: SEEDS[algorithm], code, now, driftSteps: 0, window: 0, afterStep: -1 };
    expect(verifyTotp(right, form)).toEqual({ step: Math.floor(seconds / 30) });
    expect(verifyTotp({ ...right, now: (Math.floor(seconds / 30) + 1) * 30_000 }, form)).toBeUndefined();
  });
});

describe('RFC 4226 appendix D', () => {
  const codes = '755224 287082 359152 969429 338314 254676 287922 162583 399871 520489'.split(' ');

  it.each(codes.map((code, count) => [count, code] as const))('counter %i gives %s', (count, code) => {
    expect(codeAt(secret, count)).toBe(code);
    expect(verifyTotp({ secret, code, now: count * 30_000, driftSteps: 0, window: 0, afterStep: count - 1 })).toEqual({
      step: count,
    });
  });
});

describe('a TOTP check', () => {
  it('agrees with oathtool over random seeds and times', () => {
    const random = new SeededRandom('oathtool');
    for (let round = 0; round < 40; round += 1) {
      const seed = random.bytes(SEED_BYTES);
      const seconds = new DataView(random.bytes(4).buffer).getUint32(0);
      const code = execFileSync(
        'oathtool',
        ['--totp=SHA1', '-b', '-d', '6', '-N', `@${seconds}`, totpManualKey(seed).replaceAll(' ', '')],
        { encoding: 'utf8' },
      ).trim();
      expect(verifyTotp({ secret: seed, code, now: seconds * 1000, driftSteps: 0, window: 0, afterStep: -1 })).toEqual({
        step: Math.floor(seconds / 30),
      });
    }
  });

  it.each([
    [1, [-1, 0, 1]],
    [0, [0]],
    [2, [-2, -1, 0, 1, 2]],
  ])('with a window of %i accepts exactly the steps %j', (window, accepted) => {
    const offsets = [-4, -3, -2, -1, 0, 1, 2, 3, 4];
    const got = offsets.filter((offset) => check({ code: codeAt(secret, T + offset), window }) !== undefined);
    expect(got).toEqual(accepted);
  });

  it('holds the window at the first and last millisecond of a step', () => {
    for (const now of [T * 30_000, (T + 1) * 30_000 - 1]) {
      expect(check({ code: codeAt(secret, T - 1), now })).toEqual({ step: T - 1 });
      expect(check({ code: codeAt(secret, T + 1), now })).toEqual({ step: T + 1 });
      expect(check({ code: codeAt(secret, T - 2), now })).toBeUndefined();
      expect(check({ code: codeAt(secret, T + 2), now })).toBeUndefined();
    }
  });

  it('moves the window by the drift of the device', () => {
    const offsets = [-9, -8, -7, -6, -1, 0, 1];
    const got = offsets.filter((offset) => check({ code: codeAt(secret, T + offset), driftSteps: -7 }) !== undefined);
    expect(got).toEqual([-8, -7, -6]);
  });

  it('refuses the last accepted step and all before it', () => {
    expect(check({ code: codeAt(secret, T), afterStep: T })).toBeUndefined();
    expect(check({ code: codeAt(secret, T - 1), afterStep: T })).toBeUndefined();
    expect(check({ code: codeAt(secret, T + 1), afterStep: T })).toEqual({ step: T + 1 });
  });

  it('refuses, and does not throw, when the clock has gone back behind the last accepted step', () => {
    expect(check({ afterStep: T + 1 })).toBeUndefined();
    expect(check({ afterStep: T + 1_000_000 })).toBeUndefined();
  });

  it.each([
    '',
    ' ',
    '12345',
    '1234567',
    ' 23456',
    '12345 ',
    '123 456',
    '12345\n',
    '+12345',
    '-12345',
    '1e5000',
    '0x1234',
    '１２３４５６',
    '١٢٣٤٥٦',
    '𝟏𝟐𝟑𝟒𝟓𝟔',
    '12345\u0000',
    'abcdef',
  ])('takes %j for no code at all', (code) => {
    expect(isTotpCode(code)).toBe(false);
    expect(check({ code })).toBeUndefined();
    expect(resynchronize({ secret, code, nextCode: codeAt(secret, T), now: NOW, reach: 2, afterStep: -1 })).toBe(
      undefined,
    );
  });

  it('never throws and never accepts what is not one of the three codes', () => {
    const right = new Set([-1, 0, 1].map((offset) => codeAt(secret, T + offset)));
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[0-9]{6}$/)), (code) => {
        expect(check({ code }) !== undefined).toBe(right.has(code));
      }),
      { numRuns: 300 },
    );
    expect(
      verifyTotp({ secret: new Uint8Array(3), code: '123456', now: NOW, driftSteps: 0, window: 1, afterStep: -1 }),
    ).toBe(undefined);
    expect(check({ now: 0, driftSteps: -5 })).toBeUndefined();
  });
});

describe('resynchronisation', () => {
  const search = (over: Partial<Parameters<typeof resynchronize>[0]>) =>
    resynchronize({ secret, code: '', nextCode: '', now: NOW, reach: 20, afterStep: -1, ...over });
  const pair = (offset: number) => ({ code: codeAt(secret, T + offset), nextCode: codeAt(secret, T + offset + 1) });

  it.each([-20, -11, -1, 0, 5, 20])('finds a device that is %i steps off', (offset) => {
    expect(search(pair(offset))).toEqual({ step: T + offset + 1, driftSteps: offset + 1 });
  });

  it.each([-22, -21, 21, 22])('does not look as far as %i steps', (offset) => {
    expect(search(pair(offset))).toBeUndefined();
  });

  it('finds nothing where it is switched off', () => {
    expect(search({ ...pair(0), reach: 0 })).toBeUndefined();
    expect(search({ ...pair(0), reach: 1 })).toBeDefined();
  });

  it('needs the two codes to be consecutive, in order, and different', () => {
    const { code, nextCode } = pair(4);
    expect(search({ code: nextCode, nextCode: code })).toBeUndefined();
    expect(search({ code, nextCode: code })).toBeUndefined();
    expect(search({ code, nextCode: codeAt(secret, T + 6) })).toBeUndefined();
  });

  it('refuses codes of steps that were accepted before', () => {
    expect(search({ ...pair(4), afterStep: T + 4 })).toBeUndefined();
    expect(search({ ...pair(5), afterStep: T + 4 })).toEqual({ step: T + 6, driftSteps: 6 });
  });

  it('makes the next code of the device verify', () => {
    const found = search(pair(-13));
    const later = NOW + 30_000;
    const code = codeAt(secret, stepAt(later) - 12);
    expect(check({ code, now: later })).toBeUndefined();
    expect(check({ code, now: later, driftSteps: found?.driftSteps ?? 0, afterStep: found?.step ?? 0 })).toEqual({
      step: T - 11,
    });
  });
});

describe('what an authenticator app is given', () => {
  it('is a URI that parses back to issuer, account and seed', () => {
    const uri = new URL(totpKeyUri({ issuer: 'Acme & Söhne', accountName: 'ada+x y@example.com', secret }));
    expect(uri.protocol).toBe('otpauth:');
    expect(uri.host).toBe('totp');
    expect(decodeURIComponent(uri.pathname)).toBe('/Acme & Söhne:ada+x y@example.com');
    expect(Object.fromEntries(uri.searchParams)).toEqual({
      secret: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ',
      issuer: 'Acme & Söhne',
    });
    expect(uri.href).not.toContain('+');
  });

  it('never has a colon in its parts', () => {
    expect(() => totpKeyUri({ issuer: 'a:b', accountName: 'c', secret })).toThrow(RangeError);
    expect(() => totpKeyUri({ issuer: 'a', accountName: 'b:c', secret })).toThrow(RangeError);
  });

  it('takes text that no encoder takes', () => {
    expect(totpKeyUri({ issuer: 'a', accountName: 'x\ud800', secret })).toContain('x%EF%BF%BD');
  });

  it('shows the key in groups of four, as RFC 4648 base32', () => {
    expect(totpManualKey(secret)).toBe('GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ');
  });
});

describe('a key for typing', () => {
  it('gives the seed back, with or without its spaces', () => {
    const seed = Uint8Array.from({ length: 20 }, (_, index) => index * 7);
    const key = totpManualKey(seed);
    expect(seedOfManualKey(key)).toEqual(seed);
    expect(seedOfManualKey(key.replaceAll(' ', ''))).toEqual(seed);
    expect(() => seedOfManualKey('not base32!')).toThrow();
  });
});
