import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { Flusher } from '#src/adapters/central/flusher.ts';
import { PostgresSubjectKeys } from '#src/adapters/central/subject-keys.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import type { LocalTrail } from '#src/adapters/local/trail-client.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { AuditBufferWatch } from '#src/adapters/telemetry/audit-buffer-watch.ts';
import { startPostgres } from '../../../scripts/servers/postgres.ts';
import { centralTrail, openPool } from '../../support/central-trail.ts';
import { eventually } from '../../support/eventually.ts';
import { SILENT, TEST_RING } from '../../support/local-stores.ts';
import { openTestTrail, presentEvent } from '../../support/local-trail.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

/** Ten minutes at a thousand events a second. */
const EVENTS = 600_000;
/** Persons whose keys are known before the outage, and more who come in the middle of it. */
const PERSONS = 300;
const NEW_PERSONS = 50;
const CALL = 100;
const LANES = 6;
/** How full the buffer is to be at the end of the outage. */
const FULL = 0.92;
const LIVE_LANES = 3;
/** About a minute on an idle machine; other bounds are of what is tested. */
const LIMIT_MS = 600_000;

const DAY = 86_400_000;
const AGENT = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0';

/** Each is told from all others by the id of its session. */
function eventOf(number: number) {
  const subject = `person-${number % (number > EVENTS / 2 ? PERSONS + NEW_PERSONS : PERSONS)}`;
  const sessionId = `ses_${String(number).padStart(26, '0')}`;
  return presentEvent('session.created', { subject, sessionId, ipAddress: '203.0.113.7', userAgent: AGENT });
}

async function take(trail: LocalTrail, from: number, count: number): Promise<void> {
  const taken = await trail.commit.take(Array.from({ length: count }, (_, index) => eventOf(from + index)));
  taken.confirm();
}

/** Bytes of the buffer for one event of this test, by a small trail of its own. */
async function bytesPerEvent(directory: string, subjectKeys: PostgresSubjectKeys): Promise<number> {
  await using trail = await openTestTrail(directory, { subjectKeys });
  await take(trail, 0, 500);
  const before = (await trail.audit.status()).bytes;
  for (let from = 500; from < 10_500; from += CALL) await take(trail, from, CALL);
  return ((await trail.audit.status()).bytes - before) / 10_000;
}

const p99 = (samples: readonly number[]) => samples.toSorted((a, b) => a - b)[Math.floor(samples.length * 0.99)] ?? 0;

it(`buffers ten minutes of events within its bound and catches up with all of them, while live traffic goes on`, {
  timeout: LIMIT_MS,
}, async () => {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-outage-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const server = await startPostgres();
  onTestFinished(() => server[Symbol.asyncDispose]());
  const central = await centralTrail(server);
  const outages = { failures: 3, probeMs: 100, connectTimeoutMs: 2_000 };
  const state = openPool(central.urls.state, { ...outages, connections: 1 });
  const flushing = openPool(central.urls.audit, { ...outages, connections: 1 });
  const subjectKeys = new PostgresSubjectKeys({
    database: new TrailDatabase({ pool: state }),
    secrets: new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom }),
    random: systemRandom,
    clock: systemClock,
    timeoutMs: 500,
    maxCached: 1_000,
    maxAgeMs: 60_000,
  });
  const maxAuditBytes = Math.ceil(((await bytesPerEvent(join(root, 'small'), subjectKeys)) * EVENTS) / FULL);
  const directory = join(root, 'data');
  const log = new RecordingLog();
  await using trail = await openTestTrail(directory, {
    subjectKeys,
    maxAuditBytes,
    maxAgeMs: DAY,
    checkpointMs: 2_000,
  });
  const flusher = new Flusher({
    source: trail.source,
    target: new PostgresFlushTarget({ database: new TrailDatabase({ pool: flushing }), timeoutMs: 5_000 }),
    audit: trail.audit,
    trail,
    mode: 'buffered',
    intervalMs: 100,
    batchRows: 1_000,
    bounds: { bytes: maxAuditBytes, ageMs: DAY },
    isBusy: () => flushing.isBusy,
    onClash: (clash) => log.error('clash', { ...clash }),
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
  });
  flushing.breaker.onChange(({ up }) => up && flusher.recovered());
  flusher.start();
  onTestFinished(() => flusher.close());
  const watch = new AuditBufferWatch(trail.audit, log);

  let next = 0;
  const number = (count: number) => {
    next += count;
    return next - count;
  };
  /** What a call does: its event first, then its state. */
  const live = (samples: number[]) => {
    let running = true;
    const lane = async () => {
      while (running) {
        const from = performance.now();
        await take(trail, number(1), 1);
        await state.run({ lane: 'read', timeoutMs: 5_000, patienceMs: 5_000 }, (connection) =>
          connection.query('SELECT 1'),
        );
        samples.push(performance.now() - from);
        await pause(4);
      }
    };
    const lanes = Array.from({ length: LIVE_LANES }, lane);
    return async () => {
      running = false;
      await Promise.all(lanes);
    };
  };

  const before: number[] = [];
  for (let from = 0; from < PERSONS; from += CALL) await take(trail, number(CALL), CALL);
  const stopBefore = live(before);
  await pause(2_500);
  await stopBefore();

  await server.kill();
  const outageBegan = next;
  const fill = async () => {
    while (next - outageBegan < EVENTS) {
      await take(trail, number(CALL), CALL);
      if (next % 20_000 < CALL) await watch.read();
    }
  };
  await Promise.all(Array.from({ length: LANES }, fill));
  const full = await trail.audit.status();
  expect(next - outageBegan).toBeGreaterThanOrEqual(EVENTS);
  expect(full.waiting?.events).toBeGreaterThanOrEqual(EVENTS);
  expect(full).toMatchObject({ writable: true });
  expect(full.bytes).toBeGreaterThan(maxAuditBytes * 0.8);
  expect(full.bytes).toBeLessThan(maxAuditBytes);
  const alarms = log.lines.filter((line) => line.includes('the audit buffer is nearly full'));
  expect(alarms, 'alarms at 80 % of the bound').toHaveLength(1);

  await server.restart();
  await eventually('PostgreSQL is found again', () => state.breaker.up && flushing.breaker.up, 10_000);
  const during: number[] = [];
  const stopDuring = live(during);
  const tookMs = await eventually(
    'all is caught up with',
    async () => ((await trail.audit.status()).waiting?.events ?? EVENTS) < 2_000,
    150_000,
  );
  await stopDuring();
  expect(during.length).toBeGreaterThan(100);
  // Generous: flush, live calls, PostgreSQL and this test share two cores.
  expect(p99(during), `p99 in catch-up; ${p99(before)} ms before`).toBeLessThan(Math.max(10 * p99(before), 250));
  expect(EVENTS / (tookMs / 1_000), 'events a second in catch-up, several times what came in').toBeGreaterThan(3_000);

  await eventually('the rest is flushed', async () => (await trail.audit.status()).waiting?.events === 0, 30_000);
  const [counted] = await server.query<{ events: string; sessions: string }>(
    `SELECT count(*) AS events, count(DISTINCT session_id) AS sessions FROM audit_events WHERE type = 'session.created'`,
    [],
    new URL(central.urls.owner).pathname.slice(1),
  );
  expect([Number(counted?.events), Number(counted?.sessions)]).toEqual([next, next]);
  const { verdict } = await verifyCentral(central.chains, { chainId: '' });
  expect(verdict).toMatchObject({ intact: true, rows: (await trail.audit.status()).durableSequence });
  await eventually(
    'the buffer is small again',
    async () => (await trail.audit.status()).bytes < full.bytes / 20,
    20_000,
  );
  expect(log.lines.filter((line) => line.includes('clash'))).toEqual([]);
});
