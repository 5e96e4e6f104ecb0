import { describe, expect, it } from 'vitest';
import { LONGEST_TIMEOUT_MS, parseConnectTimeout, parseGrpcTimeout } from '#src/transport/timeout.ts';

const invalid = expect.objectContaining({ kind: 'invalid', reason: 'FIELD_INVALID' });

describe('timeouts', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3_000],
    ['250m', 250],
    ['1500u', 1.5],
    ['0S', 0],
  ])('reads grpc-timeout %s', (value, milliseconds) => {
    expect(parseGrpcTimeout(value)).toBeCloseTo(milliseconds);
  });

  it.each(['99999999H', '2147484S', '4294968S'])('clamps %s to what a timer can hold', (value) => {
    expect(parseGrpcTimeout(value)).toBe(LONGEST_TIMEOUT_MS);
  });

  it.each(['', '1', 'S', '1s', '-1S', '1 S', '123456789S', '1S1S', '1.5S'])('refuses grpc-timeout "%s"', (value) => {
    expect(() => parseGrpcTimeout(value)).toThrow(invalid);
  });

  it('reads, clamps and refuses connect-timeout-ms likewise', () => {
    expect(parseConnectTimeout('1500')).toBe(1500);
    expect(parseConnectTimeout('9999999999')).toBe(LONGEST_TIMEOUT_MS);
    for (const value of ['', '-1', '1.5', '12345678901', '1e3'])
      expect(() => parseConnectTimeout(value)).toThrow(invalid);
  });

  it('takes the absence of a timeout as none', () => {
    expect(parseGrpcTimeout(undefined)).toBeUndefined();
    expect(parseConnectTimeout(undefined)).toBeUndefined();
  });
});
