import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '#src/config/load.ts';
import { nearest } from '#src/config/nearest.ts';
import { policyFrom } from '#src/config/policy.ts';
import { parseDuration, parseSize } from '#src/config/units.ts';
import { temporaryFile } from '../support/settings-file.ts';

describe('units', () => {
  it.each([
    ['60s', 60_000],
    ['1h30m', 5_400_000],
    ['1500ms', 1_500],
    ['2d', 172_800_000],
    ['0s', 0],
  ])('read %s as %d ms', (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });

  it.each(['', '60', 's', '1.5h', '-1s', '1 h', '1H', '60s ', '1e3s', '999999999999s', 'Infinity'])(
    'refuse the duration %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  it.each([
    ['0B', 0],
    ['64KiB', 65_536],
    ['4MiB', 4_194_304],
    ['1GiB', 1_073_741_824],
  ])('read %s as %d bytes', (text, expected) => {
    expect(parseSize(text)).toBe(expected);
  });

  it.each(['', '64', '64K', '64kb', '1.5MiB', '-1B', '64 KiB'])('refuse the size %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});

describe('nearest', () => {
  it.each([
    ['timout', 'timeout'],
    ['tiemout', 'timeout'],
    ['TIMEOUT', 'timeout'],
    ['short-lock', 'short_lock'],
    ['lock', 'short_lock'],
    ['hor', undefined],
    ['zzz', undefined],
    ['', undefined],
  ])('says for %j: %j', (word, expected) => {
    expect(nearest(word, ['timeout', 'enabled', 'short_lock'])).toBe(expected);
  });

  it('finds every word that has one letter wrong', () => {
    const words = ['max_open_per_subject', 'checkpoint_interval', 'socket_mode', 'touch_interval'];
    fc.assert(
      fc.property(fc.constantFrom(...words), fc.nat(), fc.constantFrom('q', '', 'qq'), (word, at, put) => {
        const index = at % word.length;
        expect(nearest(word.slice(0, index) + put + word.slice(index + 1), words)).toBe(word);
      }),
    );
  });
});

describe('policyFrom', () => {
  it('gives every purpose the lifetime of mfa.timeout unless it has its own', async () => {
    const config = await loadConfig({ env: { MFA_TIMEOUT_SECONDS: '30', SALLYPORT_CHALLENGE_TTL_LOGIN: '5m' } });
    expect(policyFrom(config).ttlMs).toEqual({
      action: 30_000,
      login: 300_000,
      factor_change: 30_000,
      step_up: 30_000,
    });
  });

  it('forbids SMS for critical actions in the nist profile', async () => {
    expect(policyFrom(await loadConfig({ env: { SALLYPORT_PROFILE: 'nist' } })).smsForCritical).toBe(false);
  });

  it('carries rules over with their place, and leaves out what they do not say', async () => {
    const file = temporaryFile(`realms: [default, shop]
policy:
  max_age: 20m
  rules:
    - { match: { path: /a, http_methods: [POST] }, require: mfa_recent }
    - { description: second, match: { realm: shop }, max_age: 1m, methods: [totp], ttl: 5s, sensitivity: critical }
`);
    expect(policyFrom(await loadConfig({ file, env: {} })).rules).toEqual([
      {
        id: 'policy.rules[0]',
        description: '',
        match: { path: '/a', httpMethods: ['POST'] },
        require: 'mfa_recent',
        maxAgeMs: 1_200_000,
      },
      {
        id: 'policy.rules[1]',
        description: 'second',
        match: { realm: 'shop' },
        maxAgeMs: 60_000,
        methods: ['totp'],
        ttlMs: 5_000,
        sensitivity: 'critical',
      },
    ]);
  });
});
