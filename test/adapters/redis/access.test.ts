import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { RedisTarget } from '#src/adapters/redis/client-options.ts';
import { freePort } from '../../../scripts/servers/free-port.ts';
import { type RedisOptions, type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../../support/redis-front.ts';
import { challengeOf, eventOf, id, person, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

/** All that a sidecar needs, as docs and operators may copy it. */
const LEAST =
  '-@all ~sallyport:* &sallyport:* +hello +ping +get +set +unlink +exists +hgetall +eval +evalsha +publish +subscribe ' +
  '+unsubscribe +getrange +hget +hset +hdel +hexists +hlen +zadd +zrange +zrem +pexpire';
const PASSWORD = 'correct-horse-battery';

let open: AsyncDisposableStack | undefined;
afterEach(() => open?.disposeAsync());

/** Nothing here is about time. */
const start = (fields: Partial<RedisTarget> & { readonly at: readonly string[] }) =>
  RedisFront.start(targetOf({ timeoutMs: PATIENT_MS, ...fields }), { keepaliveMs: PATIENT_MS });

async function begin(options: RedisOptions, fields: (redis: RedisServer) => Partial<RedisTarget>) {
  open = new AsyncDisposableStack();
  const redis = open.use(await startRedis(options));
  const front = open.use(await start({ at: [redis.address], ...fields(redis) }));
  return { redis, front };
}

const text = (file: string | undefined) => readFileSync(file ?? '', 'utf8');

/** Every call that there is. */
async function useAll(front: RedisFront): Promise<void> {
  const session = sessionOf();
  await front.sessions.put({ session, position: 1, mark: 1 });
  expect((await front.sessions.find(REALM, session.tokenDigest))?.session).toEqual(session);
  await front.sessions.drop(REALM, [session.tokenDigest]);
  await front.challenges.put(challengeOf());
  const target = { kind: 'subject' as const, subject: person(), exceptSessionId: '' };
  const end = { id: id('event'), realm: REALM, reason: 'REVOKED' as const, at: T0, event: eventOf('session.ended') };
  await front.ends.add({ ...end, target });
  await front.ends.add({ ...end, id: id('event'), target: { kind: 'ids', sessionIds: [session.id] } });
  expect(await front.ends.isEnded(session)).toBe(true);
  for (const one of await front.ends.list(10)) await front.ends.remove(one);
  await eventually('connected', () => front.news.connected);
  (await front.news.followChallenge(id('challenge'), () => {}))();
  await front.news.sessionsChanged(REALM, [session.id], T0);
  expect(front.log.lines).toEqual([]);
}

async function expectAway(front: RedisFront, code: RegExp): Promise<void> {
  await expect(front.sessions.find(REALM, 'x')).rejects.toMatchObject({ kind: 'unavailable' });
  expect([front.connection.state.up, front.news.connected]).toEqual([false, false]);
  expect(front.log.lines.join('\n')).toMatch(code);
  expect(front.log.lines.join('\n')).not.toContain(PASSWORD);
}

describe('access to Redis', () => {
  it('needs no more of an ACL than the documented commands, keys and channels', async () => {
    const acl = [{ username: 'sidecar', password: PASSWORD, rules: LEAST }];
    const { front } = await begin({ acl }, () => ({ username: 'sidecar', password: PASSWORD }));
    await useAll(front);
  });

  it('works with the password of the default user, and another database', async () => {
    const { front, redis } = await begin({ password: PASSWORD }, () => ({ password: PASSWORD, database: 3 }));
    await useAll(front);
    expect(await redis.cli('INFO', 'keyspace')).toContain('db3');
    expect(await redis.cli('INFO', 'keyspace')).not.toContain('db0');
  });

  it('is away with a wrong password, which no log line shows', async () => {
    const { front } = await begin({ password: 'another' }, () => ({ password: PASSWORD }));
    await expectAway(front, /WRONGPASS/);
  });

  it('is away with a user who may not write', async () => {
    const acl = [{ username: 'reader', password: PASSWORD, rules: '~* &* +@read +@connection' }];
    const { front } = await begin({ acl }, () => ({ username: 'reader', password: PASSWORD }));
    await expect(front.sessions.find(REALM, 'x')).rejects.toMatchObject({ kind: 'unavailable' });
    expect(front.connection.state.up).toBe(false);
    expect(front.log.lines.join('\n')).toMatch(/NOPERM/);
  });
});

describe('TLS to Redis', () => {
  it('works with the authority given, and with a certificate of our own', async () => {
    const { front } = await begin({ tls: { askClient: true } }, ({ certificates }) => ({
      tls: {
        ca: text(certificates?.caFile),
        cert: text(certificates?.client.certFile),
        key: text(certificates?.client.keyFile),
      },
    }));
    await useAll(front);
  });

  it('works with the name given when the address is another', async () => {
    const { front } = await begin({ tls: { certificate: 'wrongName' } }, ({ certificates }) => ({
      tls: { ca: text(certificates?.caFile), serverName: 'elsewhere.example' },
    }));
    await useAll(front);
  });

  it('is refused from a server with the certificate of another name', async () => {
    const { front } = await begin({ tls: { certificate: 'wrongName' } }, ({ certificates }) => ({
      password: PASSWORD,
      tls: { ca: text(certificates?.caFile) },
    }));
    await expectAway(front, /ERR_TLS_CERT_ALTNAME_INVALID/);
  });

  it('is refused from a server of another authority, and from one that the system does not know', async () => {
    const { front, redis } = await begin({ tls: true }, ({ certificates }) => ({
      tls: { ca: text(certificates?.otherCaFile) },
    }));
    await expectAway(front, /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET/);
    const other = open?.use(await start({ at: [redis.address], tls: {} }));
    if (other) await expectAway(other, /UNABLE_TO_VERIFY|SELF_SIGNED|UNABLE_TO_GET/);
  });

  it('never falls back to plain text', async () => {
    const { front } = await begin({}, () => ({ tls: {}, password: PASSWORD }));
    await expectAway(front, /redis/);
  });

  it('works with a Cluster, whose nodes are verified too', async () => {
    const port = String(await freePort());
    const settings = { 'cluster-enabled': 'yes', 'cluster-port': port, 'cluster-announce-ip': '127.0.0.1' };
    open = new AsyncDisposableStack();
    const redis = open.use(await startRedis({ tls: true, settings: { ...settings, 'tls-cluster': 'yes' } }));
    await redis.cli('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
    await eventually(
      'a Cluster',
      async () => (await redis.cli('CLUSTER', 'INFO')).includes('cluster_state:ok'),
      10_000,
    );
    const at = { mode: 'cluster' as const, at: [redis.address] };
    const front = open.use(await start({ ...at, tls: { ca: text(redis.certificates?.caFile) } }));
    await useAll(front);
    const wrong = { ca: text(redis.certificates?.otherCaFile) };
    const other = open.use(await start({ ...at, tls: wrong }));
    expect([other.connection.state.up, other.news.connected]).toEqual([false, false]);
  }, 40_000);

  it('works with Sentinels, which have their own password and are verified like the master', async () => {
    open = new AsyncDisposableStack();
    const master = open.use(await startRedis({ tls: true, password: PASSWORD }));
    const { certificates } = master;
    const port = await freePort();
    const sentinel = open.use(
      await startRedis({
        ...{ port, tls: true, password: 'another' },
        sentinel: [
          ...['port 0', `tls-port ${port}`, 'tls-replication yes', 'tls-auth-clients no'],
          `tls-ca-cert-file "${certificates?.caFile}"`,
          `tls-cert-file "${certificates?.server.certFile}"`,
          `tls-key-file "${certificates?.server.keyFile}"`,
          `sentinel monitor mymaster 127.0.0.1 ${master.port} 1`,
          `sentinel auth-pass mymaster ${PASSWORD}`,
        ],
      }),
    );
    const at = { mode: 'sentinel' as const, at: [sentinel.address], password: PASSWORD };
    const trusted = { ca: text(certificates?.caFile) };
    const front = open.use(await start({ ...at, sentinelPassword: 'another', tls: trusted }));
    await useAll(front);
    const wrong = { sentinelPassword: 'another', tls: { ca: text(certificates?.otherCaFile) } };
    for (const fields of [wrong, { sentinelPassword: PASSWORD, tls: trusted }]) {
      const other = open.use(await start({ ...at, ...fields }));
      expect([other.connection.state.up, other.news.connected]).toEqual([false, false]);
      expect(other.log.lines.join()).not.toContain(PASSWORD);
    }
  }, 40_000);
});
