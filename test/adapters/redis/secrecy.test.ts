import { spawn } from 'node:child_process';
import { tracingChannel } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { findProgram } from '../../../scripts/servers/binaries.ts';
import { type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../../support/redis-front.ts';
import { challengeOf, digest, eventOf, id, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

const PASSWORD = 'planted-password';
const PLANTED = ['planted-anna', 'planted-number', 'planted-address', 'planted-agent', 'planted-detail', PASSWORD];

/** Everything the server is told, as MONITOR prints it. */
function monitor(redis: RedisServer) {
  const child = spawn(findProgram('redis-cli'), ['-p', String(redis.port), '--no-auth-warning', 'MONITOR'], {
    env: { ...process.env, REDISCLI_AUTH: PASSWORD },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  return {
    get text() {
      return text;
    },
    [Symbol.dispose]: () => void child.kill(),
  };
}

/** Everything that ioredis publishes for tracers. */
function traces() {
  const seen: string[] = [];
  const note = (message: unknown) =>
    seen.push(inspect(message, { depth: 8, maxArrayLength: null, maxStringLength: null }));
  const subscribers = { start: note, end: note, asyncStart: note, asyncEnd: note, error: note };
  const channels = ['command', 'batch', 'connect'].map((name) => tracingChannel(`ioredis:${name}`));
  for (const channel of channels) channel.subscribe(subscribers);
  return {
    seen,
    [Symbol.dispose]() {
      for (const channel of channels) channel.unsubscribe(subscribers);
    },
  };
}

async function useAll(front: RedisFront): Promise<void> {
  const [anna = '', number = '', address = '', agent = '', detail = ''] = PLANTED;
  const device = { ipAddress: address, userAgent: agent, deviceId: '', browser: '', operatingSystem: '' };
  const session = sessionOf({ subject: anna, labels: { phone: number }, device, tokenDigest: digest() });
  await front.sessions.put({ session, position: 1, mark: 1 });
  await front.sessions.find(REALM, session.tokenDigest);
  const action = { resource: detail, action: detail, details: new Map([[detail, number]]) };
  const challenge = challengeOf({ subject: anna, action });
  const stop = await front.news.followChallenge(challenge.id, () => {});
  await front.challenges.put(challenge);
  await front.challenges.find(REALM, challenge.id);
  await front.news.challengeChanged(challenge);
  stop();
  const end = {
    id: `${anna} ${number}`,
    realm: REALM,
    reason: 'REVOKED' as const,
    at: T0,
    event: eventOf('session.ended', { subject: anna, ipAddress: address, userAgent: agent }),
  };
  await front.ends.add({ ...end, target: { kind: 'subject', subject: anna, exceptSessionId: number } });
  await front.ends.add({ ...end, id: id('event'), target: { kind: 'ids', sessionIds: [number], subject: anna } });
  await front.ends.isEnded(session);
  await front.ends.list(10);
  await front.news.sessionsEnded([
    { realm: REALM, sessionId: session.id, subject: anna, reason: 'REVOKED', endedAt: T0 },
  ]);
  await front.news.sessionsChanged(REALM, [number], T0);
}

describe('what leaves for Redis', () => {
  it('shows no person, number, address, detail or password: not stored, not in commands, traces, logs or the object', async () => {
    await using redis = await startRedis({ password: PASSWORD });
    using watched = monitor(redis);
    await eventually('watching', () => watched.text.includes('OK'));
    using traced = traces();
    using front = await RedisFront.start(targetOf({ at: [redis.address], password: PASSWORD, timeoutMs: PATIENT_MS }), {
      keepaliveMs: PATIENT_MS,
    });
    await useAll(front);
    await redis.cli('ECHO', 'that was all');
    await eventually('all of it printed', () => watched.text.includes('that was all'));
    const dump = readFileSync(await redis.snapshot(), 'latin1');
    const keys = await redis.cli('KEYS', '*');
    await redis.cli('CONFIG', 'SET', 'requirepass', 'another');
    await front.connection.command('client', ['kill', 'type', 'normal', 'skipme', 'no']).catch(() => {});
    await eventually('refused', () => front.log.lines.join().includes('WRONGPASS'));

    expect(keys.split('\n').length).toBeGreaterThan(6);
    expect(keys).not.toMatch(/^(?!sallyport:v1:)/m);
    // The places searched are the right ones.
    expect(watched.text).toContain(`sallyport:v1:${REALM}:session:`);
    expect(dump).toContain(`sallyport:v1:${REALM}:session:`);
    expect(traced.seen.join()).toContain('evalsha');
    const places = {
      keys,
      dump,
      commands: watched.text,
      traces: traced.seen.join('\n'),
      log: front.log.lines.join('\n'),
      object: inspect(front.connection, { depth: 3, showHidden: false }),
    };
    const found = Object.entries(places).flatMap(([place, text]) =>
      PLANTED.filter((value) => text.includes(value) || text.includes(Buffer.from(value).toString('base64url'))).map(
        (value) => `${value} in ${place}`,
      ),
    );
    expect(found).toEqual([]);
  });
});
