import { describe, expect, it } from 'vitest';
import { failureOf, isOutage, RedisFailure, refusesWrites } from '#src/adapters/redis/failure.ts';

const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });
const system = (code: string) => Object.assign(new Error(`connect ${code} 10.0.0.7:6379`), { code });

describe('failures of Redis', () => {
  it.each([
    [reply("READONLY You can't write against a read only replica."), 'READONLY', true],
    [reply("OOM command not allowed when used memory > 'maxmemory'."), 'OOM', true],
    [reply('LOADING Redis is loading the dataset in memory'), 'LOADING', true],
    [reply('CLUSTERDOWN The cluster is down'), 'CLUSTERDOWN', false],
    [reply('MASTERDOWN Link with MASTER is down'), 'MASTERDOWN', true],
    [reply('MISCONF Redis is configured to save RDB snapshots'), 'MISCONF', true],
    [reply('NOREPLICAS Not enough good replicas to write.'), 'NOREPLICAS', true],
    [reply('NOAUTH Authentication required.'), 'NOAUTH', true],
    [reply('WRONGPASS invalid username-password pair'), 'WRONGPASS', true],
    [reply("NOPERM this user has no permissions to run the 'get' command"), 'NOPERM', true],
    [reply('BUSY Redis is busy running a script.'), 'BUSY', false],
    [system('ECONNREFUSED'), 'ECONNREFUSED', false],
    [new Error('Command timed out'), 'TIMEOUT', false],
    [new Error("Stream isn't writeable and enableOfflineQueue options is false"), 'CLOSED', false],
    [new Error('Connection is closed.'), 'CLOSED', false],
    [new Error('All sentinels are unreachable. Last error: WRONGPASS invalid password'), 'WRONGPASS', true],
    [new Error('All sentinels are unreachable. Last error: connect ECONNREFUSED ::1:1'), 'ECONNREFUSED', false],
    [Object.assign(new Error('Failed'), { lastNodeError: reply('NOAUTH required') }), 'NOAUTH', true],
    ['something', 'FAILED', false],
  ])('%s is an outage', (error, code, writes) => {
    expect(failureOf(error).code).toBe(code);
    expect(isOutage(error)).toBe(true);
    expect(refusesWrites(failureOf(error))).toBe(writes);
  });

  it.each(['ERR syntax error', 'WRONGTYPE Operation against a key', 'TRYAGAIN Multiple keys', 'CROSSSLOT Keys'])(
    '%s is none',
    (message) => expect(isOutage(reply(message))).toBe(false),
  );

  it('carry nothing of the error that they came from', () => {
    const error = Object.assign(reply('WRONGPASS for hunter2'), { command: { name: 'hello', args: ['hunter2'] } });
    const failure = failureOf(error);
    expect(failure).toBeInstanceOf(RedisFailure);
    expect(JSON.stringify(failure) + String(failure) + String(failure.cause)).not.toContain('hunter2');
  });
});
