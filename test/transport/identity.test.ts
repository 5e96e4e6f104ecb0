import { describe, expect, it } from 'vitest';
import { Listener, tokenCheck } from '#src/transport/identity.ts';

const listener = new Listener({
  name: 'grpc',
  roles: new Set(['application']),
  operatorToken: tokenCheck('secret-token'),
});
const refused = { kind: 'unauthenticated', reason: 'CALLER_UNKNOWN' };

describe('caller identity', () => {
  it('gives everybody the roles of the listener', () => {
    const caller = listener.identify([], 'c1');
    expect(caller).toEqual({ roles: new Set(['application']), name: 'grpc', correlationId: 'c1' });
  });

  it('adds the operator role for the operator token, and says so in the name', () => {
    const caller = listener.identify(['Bearer secret-token'], 'c1');
    expect(caller).toEqual({ roles: new Set(['application', 'operator']), name: 'grpc/operator', correlationId: 'c1' });
  });

  it.each([
    ['a wrong token', ['Bearer wrong']],
    ['a token that begins like the right one', ['Bearer secret-toke']],
    ['an empty value', ['']],
    ['another scheme', ['Basic secret-token']],
    ['a bare token', ['secret-token']],
    ['two values', ['Bearer secret-token', 'Bearer secret-token']],
    ['values joined by a comma', ['Bearer secret-token, Bearer other']],
  ])('refuses %s', (_what, values) => {
    expect(() => listener.identify(values, 'c1')).toThrow(expect.objectContaining(refused));
  });

  it('accepts no token where none is configured', () => {
    const plain = new Listener({ name: 'http', roles: new Set(['application']) });
    expect(() => plain.identify(['Bearer secret-token'], 'c1')).toThrow(expect.objectContaining(refused));
    expect(() => plain.identify(['Bearer '], 'c1')).toThrow(expect.objectContaining(refused));
  });

  it('matches nothing with an empty token', () => {
    expect(tokenCheck('')('')).toBe(false);
    expect(tokenCheck(new Uint8Array())('')).toBe(false);
  });
});
