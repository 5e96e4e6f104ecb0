/**
 * Writes and flushes a trail until it is killed, by itself or from outside. Arguments: directory, scenario, and a file in
 * which it says `taken <id>` when an event is durable and `stored <chain> <sequence> <hash> <id>` for each row that is central.
 */
import { existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Backlog, FlushTarget } from '#src/adapters/audit/contract.ts';
import { parseRecord } from '#src/adapters/audit/record.ts';
import type { AuditMark } from '#src/adapters/local/audit-position.ts';
import { openTestTrail, presentEvent } from './local-trail.ts';
import { flushAll, MemoryCentral } from './memory-central.ts';

const [directory = '', scenario = '', said = ''] = process.argv.slice(2);
const out = openSync(said, 'a');
const workerUrl = new URL('./crashing-trail-worker.ts', import.meta.url);
const central = new MemoryCentral();
const trail = await openTestTrail(directory, { subjectKeys: central, keyTimeoutMs: 50, checkpointMs: 50, workerUrl });
const telling: Pick<FlushTarget, 'store' | 'head'> = {
  head: (chainId) => central.head(chainId),
  store: async (backlog) => {
    const stored = await central.store(backlog);
    for (const { chainId, sequence, hash, record } of backlog.rows)
      writeSync(out, `stored ${chainId} ${sequence} ${Buffer.from(hash).toString('hex')} ${parseRecord(record).id}\n`);
    return stored;
  },
};
const take = async (subject: string) => {
  const event = presentEvent('session.created', { subject });
  const taken = await trail.commit.take([event]);
  writeSync(out, `taken ${event.id}\n`);
  return taken;
};
const die = () => process.kill(process.pid, 'SIGKILL');
/** Resolves when the next start would know of all events so far, and of so many that nobody said how they ended. */
const marked = async (open: number) => {
  const file = join(directory, '..', 'marked');
  const head = await trail.audit.head();
  for (;;) {
    const mark: Partial<AuditMark> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
    if (mark.position === head && mark.open?.length === open) return;
    await pause(5);
  }
};
/** All that waits, once its last row is under a signature: only such rows leave the file. */
const signed = async (): Promise<Backlog> => {
  for (;;) {
    const backlog = await trail.source.backlog(10_000);
    if (backlog.checkpoints.at(-1)?.sequence === backlog.rows.at(-1)?.sequence) return backlog;
    await pause(5);
  }
};
const many = async (batches: number) => {
  for (let batch = 0; batch < batches; batch += 1)
    await trail.audit.append(Array.from({ length: 100 }, () => presentEvent('limit.hit', { subject: 'many' })));
};

if (scenario === 'open') {
  (await take('confirmed')).confirm();
  await take('open');
  await marked(1);
  die();
}
if (scenario === 'late') {
  (await take('confirmed')).confirm();
  await marked(0);
  await take('open');
  die();
}
if (scenario === 'stash') {
  central.condition = 'down';
  await take('provisional');
  die();
}
if (scenario === 'release') {
  await many(10);
  await marked(0);
  const backlog = await signed();
  await many(5);
  writeFileSync(join(directory, '..', 'crash'), '');
  await telling.store(backlog);
  await trail.source.flushed(backlog);
}
if (scenario === 'storm') {
  const client = async (subject: string) => {
    for (let round = 0; ; round += 1) {
      const taken = await take(subject);
      if (round % 5 === 0) void taken.revoke();
      else taken.confirm();
    }
  };
  const flush = async () => {
    for (;;) {
      await flushAll(trail.source, telling, 100);
      await pause(5);
    }
  };
  await Promise.all([...Array.from({ length: 10 }, (_, index) => client(`person-${index}`)), flush()]);
}
await pause(10_000);
process.exit(1);
