import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as compiled from '#src/gen/redis/scripts.js';
import { problemsOf } from '../../../scripts/lua-scripts.mjs';

const folder = new URL('../../../src/adapters/redis/scripts/', import.meta.url);
const files = readdirSync(folder).map((file) => ({ file, text: readFileSync(new URL(file, folder), 'utf8') }));

describe('the Lua scripts', () => {
  it('have names, headers and indexes that agree, and take neither time nor chance from the server', () => {
    expect(files.length).toBeGreaterThan(0);
    expect(files.flatMap(({ file, text }) => problemsOf(file, text))).toEqual([]);
  });

  it('are compiled as they stand', () => {
    const texts = Object.values(compiled).map(({ name, keys, text }) => [`${name}-${keys}.lua`, text]);
    expect(texts.sort()).toEqual(files.map(({ file, text }) => [file, text]).sort());
  });
});

describe('the check of the scripts', () => {
  const header = "-- Does it.\n-- KEYS[1]  the key\n-- ARGV[1]  the value\n-- returns  {'done'}\n";
  const body = "redis.call('SET', KEYS[1], ARGV[1])\nreturn {'done'}\n";

  it('passes a script as it should be', () => expect(problemsOf('do-it-1.lua', header + body)).toEqual([]));

  it.each([
    ['another name', 'DoIt.lua', header + body],
    ['another number of keys', 'do-it-2.lua', header + body],
    ['no header', 'do-it-1.lua', body],
    ['a key that the header lacks', 'do-it-1.lua', `${header}redis.call('DEL', KEYS[2])\n${body}`],
    ['an argument that nobody uses', 'do-it-1.lua', header + body.replace('ARGV[1]', "'x'")],
    ['keys read by a variable', 'do-it-1.lua', `${header}local key = KEYS[i]\n${body}`],
    ['the clock of the server', 'do-it-1.lua', `${header}local now = redis.call('TIME')\n${body}`],
    ['the clock of the machine', 'do-it-1.lua', `${header}local now = os.time()\n${body}`],
    ['chance', 'do-it-1.lua', `${header}local dice = math.random(6)\n${body}`],
    ['a random member', 'do-it-1.lua', `${header}redis.call('SRANDMEMBER', KEYS[1])\n${body}`],
    ['no return', 'do-it-1.lua', header + body.replace("return {'done'}", '')],
  ])('refuses %s', (_, file, text) => expect(problemsOf(file, text)).not.toEqual([]));
});
