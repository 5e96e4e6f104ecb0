import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresSubjectKeys, type PostgresSubjectKeysOptions } from '#src/adapters/central/subject-keys.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { type CentralTrail, centralTrail, openPool } from '../../support/central-trail.ts';
import { ManualClock } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const secrets = new AesGcmSecretBox({ ring: createKeyRing(new SeededRandom('ring')), random: systemRandom });

function keysOver(database: PostgresSubjectKeysOptions['database'], more: Partial<PostgresSubjectKeysOptions> = {}) {
  const limits = { timeoutMs: 5_000, maxCached: 100, maxAgeMs: 60_000 };
  return new PostgresSubjectKeys({
    database,
    secrets,
    random: systemRandom,
    clock: new ManualClock(),
    ...limits,
    ...more,
  });
}

/** Counts the questions. */
function counting(database: TrailDatabase) {
  const counted = {
    calls: 0,
    ask: (...all: Parameters<TrailDatabase['ask']>) => {
      counted.calls += 1;
      return database.ask(...all);
    },
  };
  return counted;
}

const stored = (trail: CentralTrail) => trail.sql('SELECT * FROM subject_keys');

describe('the keys of persons in PostgreSQL', () => {
  it('gives all who ask at once the same key, made once', async () => {
    const trail = await centralTrail(server);
    const sidecars = Array.from({ length: 8 }, (_, index) => {
      const url = index % 2 === 0 ? trail.urls.state : trail.urls.audit;
      return keysOver(new TrailDatabase({ pool: openPool(url) }));
    });
    for (let turn = 0; turn < 5; turn += 1) {
      const person = `user-${turn}`;
      const keys = await Promise.all(
        sidecars.flatMap((sidecar) => [sidecar.of('default', person), sidecar.of('default', person)]),
      );
      const [first] = keys;
      expect(first?.ref).toMatch(/^[0-9a-z]{26}$/);
      expect(first?.key).toHaveLength(32);
      for (const key of keys)
        expect({ ...key, key: Buffer.from(key.key).toString('hex') }).toEqual({
          realm: 'default',
          subject: person,
          ref: first?.ref,
          key: Buffer.from(first?.key ?? []).toString('hex'),
        });
    }
    expect(await stored(trail)).toHaveLength(5);
  });

  it('keeps people of two realms apart, and opens nothing that was moved or altered', async () => {
    const trail = await centralTrail(server);
    const keys = keysOver(trail.reading);
    const [one, two] = [await keys.of('a', 'kim'), await keys.of('b', 'kim')];
    expect(one.ref).not.toBe(two.ref);
    await trail.sql(
      `UPDATE subject_keys SET sealed_key = (SELECT sealed_key FROM subject_keys WHERE realm = 'b') WHERE realm = 'a'`,
    );
    await expect(keysOver(trail.reading).of('a', 'kim')).rejects.toMatchObject({
      kind: 'data-loss',
      reason: 'INTEGRITY',
    });
    await expect(keys.findByRefs([one.ref])).rejects.toMatchObject({ kind: 'data-loss' });
    expect((await keysOver(trail.reading).of('b', 'kim')).key).toEqual(two.key);
  });

  it('remembers some keys for some time, and asks again then', async () => {
    const trail = await centralTrail(server);
    const database = counting(trail.reading);
    const clock = new ManualClock();
    const keys = keysOver(database, { maxCached: 2, maxAgeMs: 1_000, clock });
    const first = await keys.of('default', 'a');
    expect(await keys.of('default', 'a')).toEqual(first);
    expect(database.calls).toBe(1);
    await keys.of('default', 'b');
    await keys.of('default', 'c');
    await keys.of('default', 'a');
    expect(database.calls).toBe(4);
    await trail.sql(`DELETE FROM subject_keys WHERE subject = 'a'`);
    expect((await keys.of('default', 'a')).ref).toBe(first.ref);
    clock.advance(1_000);
    expect((await keys.of('default', 'a')).ref).not.toBe(first.ref);
    keys.forget('default', 'a');
    const before = database.calls;
    await keys.of('default', 'a');
    expect(database.calls).toBe(before + 1);
  });

  it('finds persons by pseudonym as they are now, and all pseudonyms of one', async () => {
    const trail = await centralTrail(server);
    const keys = keysOver(trail.reading);
    const [a, b] = [await keys.of('default', 'a'), await keys.of('default', 'b')];
    const ref = 'z'.repeat(26);
    const spare = systemRandom.bytes(32);
    await trail.sql('INSERT INTO subject_keys VALUES ($1, $2, $3, $4, false)', [
      ref,
      'default',
      'a',
      secrets.seal(spare, { purpose: 'subject.key', realm: 'default', subject: 'a', id: ref }),
    ]);
    expect((await keys.refsOf('default', 'a')).toSorted()).toEqual([a.ref, ref].toSorted());
    const found = await keys.findByRefs([a.ref, ref, b.ref, a.ref, 'unknown']);
    expect([...found.keys()].toSorted()).toEqual([a.ref, b.ref, ref].toSorted());
    expect(found.get(ref)).toEqual({ realm: 'default', subject: 'a', ref, key: spare });
    await trail.sql(`DELETE FROM subject_keys WHERE subject = 'a'`);
    expect([...(await keys.findByRefs([a.ref, ref, b.ref])).keys()]).toEqual([b.ref]);
    expect(await keys.findByRefs([])).toEqual(new Map());
  });

  it('says that it is unavailable when the database is', async () => {
    const trail = await centralTrail(server);
    const pool = openPool(trail.urls.state);
    await pool.close();
    await expect(keysOver(new TrailDatabase({ pool })).of('default', 'a')).rejects.toMatchObject({
      kind: 'unavailable',
      reason: 'STORE_UNAVAILABLE',
    });
  });
});
