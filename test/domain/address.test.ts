import { describe, expect, it } from 'vitest';
import { canonicalAddress } from '#src/domain/address.ts';

describe('canonicalAddress', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8::1', '2001:db8::1'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['::FFFF:cb00:7107', '203.0.113.7'],
    ['::1', '::1'],
    ['::', '::'],
  ])('reads %s as %s', (text, expected) => {
    expect(canonicalAddress(text)).toBe(expected);
  });

  it.each([
    '',
    'localhost',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '0x7f.0.0.1',
    '2130706433',
    '1.2.3.4:80',
    '[::1]',
    'fe80::1%eth0',
    ':::1',
    '1:2:3:4:5:6:7:8:9',
    '203.0.113.7, 10.0.0.1',
    '203.0.113.7\n',
    '::1@evil',
    '::1/64',
  ])('does not read %j', (text) => {
    expect(canonicalAddress(text)).toBeUndefined();
  });
});
