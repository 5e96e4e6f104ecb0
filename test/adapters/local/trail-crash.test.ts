import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { newDirectory } from '../../support/local-stores.ts';
import { namedUnconfirmed, openTestTrail, presentEvent } from '../../support/local-trail.ts';
import { flushAll, MemoryCentral } from '../../support/memory-central.ts';
import { REALM } from '../../support/store-samples.ts';

const SCRIPT = fileURLToPath(new URL('../../support/crashing-trail.ts', import.meta.url));

let directory: ReturnType<typeof newDirectory>;
beforeEach(() => {
  directory = newDirectory();
});
afterEach(() => directory[Symbol.dispose]());

const wordsOf = (output: string, first: string) =>
  output
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([word]) => word === first)
    .map((words) => words.slice(1));

/** In a file, since what is on its way through a pipe is lost with the process. */
const said = () => join(directory.path, '..', 'said');

function crash(scenario: string): string {
  const child = spawnSync(process.execPath, [SCRIPT, directory.path, scenario, said()], {
    encoding: 'utf8',
    timeout: 40_000,
    killSignal: 'SIGABRT',
  });
  expect([child.signal, child.stderr]).toEqual(['SIGKILL', '']);
  return readFileSync(said(), 'utf8');
}

const isWhole = () =>
  expect(verifyFile(join(directory.path, 'audit.db'))).toMatchObject({ verdict: { intact: true }, anchored: true });

for (const [scenario, when] of [
  ['open', 'before a kill'],
  ['late', 'right before a kill'],
])
  it(`names the event that was taken ${when} and neither confirmed nor revoked, and no other`, async () => {
    const [confirmed = [], open = []] = wordsOf(crash(scenario ?? ''), 'taken');
    isWhole();
    const trail = await openTestTrail(directory.path);
    expect(await namedUnconfirmed(trail)).toEqual(open);
    expect(await namedUnconfirmed(trail)).not.toContain(confirmed[0]);
    await trail[Symbol.asyncDispose]();
  });

it('brings the key that was made in an outage to central storage although the process was killed', async () => {
  const [[id] = []] = wordsOf(crash('stash'), 'taken');
  const central = new MemoryCentral();
  const trail = await openTestTrail(directory.path, { subjectKeys: central });
  expect(await trail.audit.query({ realm: REALM, subject: 'provisional' }, 10)).toMatchObject([{ id }]);
  await flushAll(trail.source, central);
  expect([...central.subjectKeys.values()]).toMatchObject([{ realm: REALM, subject: 'provisional' }]);
  await trail[Symbol.asyncDispose]();
});

it('goes on where it stopped when killed while flushed rows leave the file', async () => {
  const stored = wordsOf(crash('release'), 'stored');
  expect(stored.length).toBeGreaterThanOrEqual(1_000);
  isWhole();
  rmSync(join(directory.path, '..', 'crash'));
  const trail = await openTestTrail(directory.path, { checkpointMs: 50 });
  const first = await trail.audit.exportPage({ chainId: '', from: 0, to: 0 }, '');
  const begins = first.items.flatMap((item) => (item.kind === 'row' ? [item.row.sequence] : []))[0];
  expect(begins).toBeGreaterThan(500);
  const { rows } = await trail.source.backlog(1_000);
  expect(rows[0]?.sequence).toBeGreaterThan(1_000);
  await trail.audit.append([presentEvent('limit.hit')]);
  expect(await trail.audit.verify('')).toMatchObject({ intact: true });
  await trail[Symbol.asyncDispose]();
  isWhole();
});

it('loses no event that was taken, and stores no number with two hashes, however often it is killed', async () => {
  const central = new Map<string, string>();
  const storedIds = new Set<string>();
  for (let round = 0; round < 4; round += 1) {
    rmSync(said(), { force: true });
    const child = spawn(process.execPath, [SCRIPT, directory.path, 'storm', said()], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (data) => {
      errors += data;
    });
    const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)));
    const kill = setInterval(() => {
      const size = statSync(said(), { throwIfNoEntry: false })?.size ?? 0;
      if (size > 150_000 + round * 40_000) child.kill('SIGKILL');
    }, 10);
    expect([await ended, errors]).toEqual(['SIGKILL', '']);
    clearInterval(kill);
    const output = readFileSync(said(), 'utf8');
    for (const [chain, sequence, hash = '', id = ''] of wordsOf(output, 'stored')) {
      const known = central.get(`${chain} ${sequence}`);
      expect(known ?? hash).toBe(hash);
      central.set(`${chain} ${sequence}`, hash);
      storedIds.add(id);
    }
    isWhole();
    const trail = await openTestTrail(directory.path);
    const local = new Set((await trail.audit.query({}, 100_000)).map(({ id }) => id));
    const taken = wordsOf(output, 'taken').map(([id = '']) => id);
    expect(taken.length).toBeGreaterThan(50);
    expect(taken.filter((id) => !storedIds.has(id) && !local.has(id))).toEqual([]);
    await trail[Symbol.asyncDispose]();
  }
  expect(new Set([...central.keys()].map((key) => key.split(' ')[0])).size).toBe(1);
}, 180_000);
