import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressGroup, clientAddress } from '#src/transport/public/client-address.ts';

describe('the address of a client', () => {
  it('is the other end of the connection where no proxy is trusted, whatever a header says', () => {
    expect(clientAddress('203.0.113.7', '198.51.100.1', 0)).toBe('203.0.113.7');
    expect(clientAddress('::ffff:203.0.113.7', undefined, 0)).toBe('203.0.113.7');
    expect(clientAddress(undefined, '198.51.100.1', 0)).toBe('');
  });

  it.each([
    [1, '203.0.113.7', '203.0.113.7'],
    [1, '10.9.9.9, 203.0.113.7', '203.0.113.7'],
    [2, '10.9.9.9, 203.0.113.7, 192.0.2.1', '203.0.113.7'],
    [1, '203.0.113.7:51234', '203.0.113.7'],
    [1, '[2001:db8::7]:51234', '2001:db8::7'],
    [1, '2001:DB8:0:0::7', '2001:db8::7'],
  ])('is what the outermost of %i proxies wrote into %s', (proxies, header, address) => {
    expect(clientAddress('127.0.0.1', header, proxies)).toBe(address);
  });

  it.each([
    [1, undefined],
    [1, ''],
    [2, '203.0.113.7'],
    [1, 'unknown'],
    [1, '203.0.113.7, '],
    [1, '<script>'],
    [10, '203.0.113.7, 192.0.2.1'],
  ])('is unknown where %i proxies wrote %s, and nothing is believed in its place', (proxies, header) => {
    expect(clientAddress('127.0.0.1', header, proxies)).toBe('');
  });

  it('is not moved by anything that a client puts in front of what the proxies write', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 3 }), (forged, proxies) => {
        const written = ['203.0.113.7', '192.0.2.1', '192.0.2.2'].slice(0, proxies).join(', ');
        expect(clientAddress('127.0.0.1', `${forged}, ${written}`, proxies)).toBe('203.0.113.7');
      }),
    );
  });
});

describe('what is counted together', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['2001:db8::7', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['', ''],
  ])('with %s is %s', (address, group) => expect(addressGroup(address)).toBe(group));
});
