import { describe, expect, it } from 'vitest';
import { encodeReply, sharedReply } from '#src/transport/shared-reply.ts';

describe('a shared reply', () => {
  it('is encoded once, however often it is sent', () => {
    const reply = sharedReply({ token: 'a' });
    let encoded = 0;
    const encode = () => {
      encoded += 1;
      return Uint8Array.of(encoded);
    };
    expect(encodeReply(reply, encode)).toBe(encodeReply(reply, encode));
    expect(encoded).toBe(1);
  });

  it('cannot be changed after it was shared', () => {
    const reply = sharedReply({ token: 'a' });
    expect(() => {
      reply.token = 'b';
    }).toThrow(TypeError);
  });
});

describe('any other reply', () => {
  it('is encoded each time, since it may have changed', () => {
    const reply = { token: 'a' };
    const encode = () => new TextEncoder().encode(reply.token);
    expect(encodeReply(reply, encode)).toEqual(Uint8Array.of(97));
    reply.token = 'b';
    expect(encodeReply(reply, encode)).toEqual(Uint8Array.of(98));
  });
});
