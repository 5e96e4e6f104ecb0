import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CentralChains } from '#src/adapters/central/central-chains.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { Flusher } from '#src/adapters/central/flusher.ts';
import { PostgresSubjectKeys } from '#src/adapters/central/subject-keys.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import { openLocalTrail } from '#src/adapters/local/trail-client.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { type CentralTrail, centralTrail, openPool } from '../../support/central-trail.ts';
import { SILENT } from '../../support/local-stores.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const ring = createKeyRing(systemRandom);
const secrets = new AesGcmSecretBox({ ring, random: systemRandom });

/** The trail of a sidecar: its file, its worker thread, its flush. */
async function sidecar({ urls }: Pick<CentralTrail, 'urls'>, folder: string) {
  const pool = openPool(urls.audit, { connections: 1, failures: 3, connectTimeoutMs: 500 });
  const database = new TrailDatabase({ pool });
  const limits = { timeoutMs: 250, maxCached: 1_000, maxAgeMs: 60_000 };
  const trail = await openLocalTrail({
    directory: folder,
    keyRing: ring,
    maxAuditBytes: 256 * 1024 * 1024,
    checkpointMs: 200,
    maxAgeMs: 3_600_000,
    mode: 'buffered',
    subjectKeys: new PostgresSubjectKeys({ database, secrets, random: systemRandom, clock: systemClock, ...limits }),
    log: SILENT,
    onFatal: (error) => {
      throw error;
    },
  });
  const flusher = new Flusher({
    source: trail.source,
    target: new PostgresFlushTarget({ database, timeoutMs: 5_000 }),
    audit: trail.audit,
    trail,
    mode: 'buffered',
    intervalMs: 20,
    batchRows: 500,
    bounds: { bytes: 256 * 1024 * 1024, ageMs: 3_600_000 },
    isBusy: () => false,
    onClash: (clash) => {
      throw new Error(`row ${clash.sequence} clashes`);
    },
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
  });
  pool.breaker.onChange(({ up }) => up && flusher.recovered());
  flusher.start();
  let made = 0;
  const append = async (count: number) => {
    for (let done = 0; done < count; done += 100) {
      const drafts = Array.from({ length: Math.min(100, count - done) }, (): EventDraft => {
        made += 1;
        const id = newId('event', systemRandom.bytes(16));
        const rest = { realm: 'default', subject: `user-${made % 50}`, outcome: 'SUCCESS' as const };
        return { id, type: 'challenge.approved', at: Date.now(), ...rest };
      });
      await trail.audit.append(drafts);
    }
  };
  return { trail, flusher, append };
}

describe('the trail over an outage of PostgreSQL', () => {
  it('keeps everything, brings it when PostgreSQL is back, each event once, and drains before it ends', async () => {
    const central = await centralTrail(server);
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-trail-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const { trail, flusher, append } = await sidecar(central, folder);
    await append(500);
    await expect.poll(async () => (await trail.audit.status()).waiting?.events, { timeout: 10_000 }).toBe(0);
    for (const outage of ['kill', 'freeze'] as const) {
      await server[outage]();
      await append(3_000);
      expect((await trail.audit.status()).waiting?.events).toBeGreaterThan(2_000);
      await (outage === 'kill' ? server.restart() : server.thaw());
      await append(500);
    }
    await append(100);
    expect(await flusher.drain(30_000)).toEqual({ left: 0 });
    const { durableSequence } = await trail.audit.status();
    await trail[Symbol.asyncDispose]();
    // The connections of before the kill are gone.
    const reading = new TrailDatabase({ pool: openPool(central.urls.state) });
    const chains = new CentralChains({ read: (sql, ...params) => reading.read(30_000, sql, ...params) });
    const { verdict } = await verifyCentral(chains, { chainId: '' });
    expect(verdict).toMatchObject({ intact: true, rows: durableSequence });
    const [counted] = await reading.ask(
      10_000,
      `SELECT count(*) AS events, count(DISTINCT sequence) AS numbers,
         (SELECT count(*) FROM audit_events WHERE type = 'challenge.approved') AS ours,
         (SELECT count(DISTINCT subject) FROM subject_keys WHERE subject <> '') AS persons FROM audit_events`,
    );
    expect(counted).toEqual({ events: durableSequence, numbers: durableSequence, ours: 7_600, persons: 50 });
    // A second life on this volume goes on with the chain.
    const again = await sidecar(central, folder);
    await again.append(10);
    expect(await again.flusher.drain(30_000)).toEqual({ left: 0 });
    await again.trail[Symbol.asyncDispose]();
    expect((await verifyCentral(chains, { chainId: '' })).verdict.intact).toBe(true);
  }, 120_000);
});
