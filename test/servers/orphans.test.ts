import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { aliveOf, treeOf } from '../../scripts/servers/process-tree.ts';

const SCRIPT = `
import { startRedis } from './scripts/servers/redis.ts';
import { startPostgres } from './scripts/servers/postgres.ts';
const redis = await startRedis();
const awake = await startPostgres();
const frozen = await startPostgres();
await frozen.freeze();
const pids = [redis.pid, awake.pid, frozen.pid];
const folders = [awake.socketDirectory, frozen.socketDirectory];
console.log(JSON.stringify({ pids, folders }));
setInterval(() => {}, 1000);
`;

it('ends servers, frozen ones too, and removes their folders when whoever started them is killed', async () => {
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', SCRIPT], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve) => parent.stdout.once('data', (data) => resolve(String(data))));
  const { pids, folders } = JSON.parse(line) as { pids: number[]; folders: string[] };
  const all = pids.flatMap((pid) => [...treeOf(pid)]);
  expect(all.length).toBeGreaterThan(10);
  expect(folders.filter((folder) => existsSync(folder))).toHaveLength(2);
  parent.kill('SIGKILL');
  const limit = performance.now() + 30_000;
  const left = () => aliveOf(all).length > 0 || folders.some((folder) => existsSync(folder));
  while (left() && performance.now() < limit) await sleep(20);
  expect(aliveOf(all)).toEqual([]);
  expect(folders.filter((folder) => existsSync(folder))).toEqual([]);
});
