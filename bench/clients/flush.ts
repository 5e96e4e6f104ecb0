// How many events per second leave a full local buffer for PostgreSQL, through the product's own trail and flusher.
// Arguments: directory, URL of the database, events. Prints one line of JSON.
import { join } from 'node:path';
import { TrailDatabase } from '../../src/adapters/central/database.ts';
import { PostgresFlushTarget } from '../../src/adapters/central/flush-target.ts';
import { Flusher } from '../../src/adapters/central/flusher.ts';
import { PostgresSubjectKeys } from '../../src/adapters/central/subject-keys.ts';
import { openLocalTrail } from '../../src/adapters/local/trail-client.ts';
import { loadOrCreateKeyRing } from '../../src/adapters/secrets/key-ring-file.ts';
import { AesGcmSecretBox } from '../../src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '../../src/adapters/system.ts';
import { newId } from '../../src/domain/ids.ts';
import { LOG, openPool } from '../postgres.ts';
import { sampleEvent } from '../sample-event.ts';

const [directory = '', url = '', events] = process.argv.slice(2);
const count = Number(events);
const AT_ONCE = 500;
/** As the sidecar has it by default. */
const BATCH_ROWS = 1_000;
const LONG_MS = 600_000;

const { ring } = await loadOrCreateKeyRing(join(directory, 'keys.json'), systemRandom);
const pool = openPool(url, 1);
const database = new TrailDatabase({ pool });
await using trail = await openLocalTrail({
  directory,
  keyRing: ring,
  maxAuditBytes: 1 << 30,
  maxAgeMs: LONG_MS,
  mode: 'buffered',
  subjectKeys: new PostgresSubjectKeys({
    database,
    secrets: new AesGcmSecretBox({ ring, random: systemRandom }),
    random: systemRandom,
    clock: systemClock,
    timeoutMs: 10_000,
    maxCached: 8_192,
    maxAgeMs: LONG_MS,
  }),
  log: LOG,
  onFatal: (error) => {
    throw error;
  },
});

for (let made = 0; made < count; made += AT_ONCE) {
  const length = Math.min(AT_ONCE, count - made);
  const drafts = Array.from({ length }, (_, index) =>
    sampleEvent(newId('event', systemRandom.bytes(16)), made + index),
  );
  await trail.audit.append(drafts);
}
const { bytes } = await trail.audit.status();

const flushed = Promise.withResolvers<void>();
let [stored, busyMs] = [0, 0];
const flusher = new Flusher({
  source: trail.source,
  target: new PostgresFlushTarget({ database, timeoutMs: 10_000 }),
  audit: trail.audit,
  trail,
  mode: 'buffered',
  intervalMs: 500,
  batchRows: BATCH_ROWS,
  bounds: { bytes: 1 << 30, ageMs: LONG_MS },
  isBusy: () => false,
  onClash: (clash) => flushed.reject(new Error(`a clash at ${clash.chainId} ${clash.sequence}`)),
  onStored: ({ events: more, tookMs }) => {
    stored += more;
    busyMs += tookMs;
    if (stored >= count) flushed.resolve();
  },
  clock: systemClock,
  random: systemRandom,
  log: LOG,
});
const startedAt = performance.now();
flusher.start();
await flushed.promise;
const perSecond = (count / (performance.now() - startedAt)) * 1000;
await flusher.close();
await pool.close();
process.stdout.write(`${JSON.stringify({ perSecond, bytesPerEvent: bytes / count, busyMs })}\n`);
