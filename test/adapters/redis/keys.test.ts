import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RedisKeys } from '#src/adapters/redis/keys.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { RING } from '../../support/redis-front.ts';

const keysOf = (prefix: string) => new RedisKeys({ prefix, digest: new HmacKeyedDigest({ ring: RING }) });
const keys = keysOf('sallyport');

describe('keys in Redis', () => {
  it('begin with prefix, version and realm', () => {
    expect(keys.session('main', 'abc-_9')).toBe('sallyport:v1:main:session:abc-_9');
    expect(keys.sessionNews('main')).toBe('sallyport:v1:main:news:sessions');
    expect(keys.pendingEnds()).toMatch(/^sallyport:v1:\+:/);
  });

  it('never meet across prefixes, realms and ids, whatever is in them', () => {
    const part = fc.oneof(fc.string(), fc.constantFrom('a', 'a:v1', '+', 'a:session', '{x}', ':', ''));
    const address = fc.tuple(part, part, part);
    fc.assert(
      fc.property(address, address, (one, other) => {
        fc.pre(one.every(wellFormed) && other.every(wellFormed) && one.join('\n\n') !== other.join('\n\n'));
        const all = ([prefix, realm, id]: readonly [string, string, string]) => {
          const of = keysOf(prefix);
          return [
            of.session(realm, id),
            of.challenge(realm, id),
            of.endedSession(realm, id),
            of.endedSubject(realm, id),
          ];
        };
        expect(all(one).filter((key) => all(other).includes(key))).toEqual([]);
      }),
    );
  });

  it('keep those of one script on one node of a Cluster', () => {
    const tag = (key: string) => /\{(.+?)\}/.exec(key)?.[1];
    expect(tag(keys.pendingOrder())).toBe(tag(keys.pendingEnds()));
    expect(tag(keys.endedSession('main', 'ses_1'))).toBe(tag(keys.endedSessionOf('main', 'ses_1', 'anna')));
    expect(tag(keys.endedSession('main', 'ses_1'))).not.toBe(tag(keys.endedSession('main', 'ses_2')));
    expect(tag(keys.session('{x}', '{y}'))).toBeUndefined();
  });

  it('name neither persons nor what callers send', () => {
    const secret = 'anna@example.com';
    const all = [
      keys.challenge('main', secret),
      keys.endedSession('main', secret),
      keys.endedSessionOf('main', 'ses_1', secret),
      keys.endedSubject('main', secret),
      keys.exception('main', secret),
      keys.pendingId(secret),
      keys.challengeNews(secret),
    ];
    expect(all.join(' ')).not.toMatch(/anna|example/);
    expect(keys.endedSubject('main', secret)).not.toBe(keys.endedSubject('other', secret).replace('other', 'main'));
  });
});

function wellFormed(text: string): boolean {
  return text.isWellFormed();
}
