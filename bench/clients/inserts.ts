// The bare equivalent of durable events: better-sqlite3 inserts of as many bytes, in batches, WAL with synchronous=FULL.
// Arguments: directory, events, batch, bytes per event. Prints one line of JSON.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import Database from 'better-sqlite3';

const [directory = '', events, batch, bytes] = process.argv.slice(2);
const db = new Database(join(directory, 'bare.db'));
for (const setting of ['locking_mode = EXCLUSIVE', 'journal_mode = WAL', 'synchronous = FULL']) db.pragma(setting);
db.exec('CREATE TABLE events (position INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT');
const insert = db.prepare('INSERT INTO events (record) VALUES (?)');
const record = randomBytes(Math.round(Number(bytes)));
const insertBatch = db.transaction((count: number) => {
  for (let index = 0; index < count; index += 1) insert.run(record);
});

function append(count: number): number {
  const startedAt = performance.now();
  for (let left = count; left > 0; left -= Number(batch)) insertBatch(Math.min(left, Number(batch)));
  return (count / (performance.now() - startedAt)) * 1000;
}

append(Number(events) / 4);
const perSecond = append(Number(events));
db.close();
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
