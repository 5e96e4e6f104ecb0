import { describe, expect, it } from 'vitest';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { MemorySql } from '../../support/memory-sql.ts';
import { SeededRandom } from '../../support/random.ts';
import { createOf, REALM, sessionOf } from '../../support/store-samples.ts';

describe('the stored device of a session', () => {
  it('is sealed to its row: it opens in no other session, not even of the same person', async () => {
    const sql = new MemorySql([]);
    const random = new SeededRandom('rows');
    const store = new SqlSessionStore(sql, new AesGcmSecretBox({ ring: createKeyRing(random), random }));
    const [ours, theirs] = [sessionOf({ subject: 'ann' }), sessionOf({ subject: 'ann' })];
    for (const session of [ours, theirs]) await store.create(createOf(session));
    expect(sql.db.serialize().includes(ours.device.ipAddress)).toBe(false);
    expect(await store.read(REALM, ours.id)).toEqual(ours);
    sql.db
      .prepare('UPDATE sessions SET sealed_device = (SELECT sealed_device FROM sessions WHERE id = ?) WHERE id = ?')
      .run(theirs.id, ours.id);
    await expect(store.read(REALM, ours.id)).rejects.toMatchObject({ kind: 'data-loss', reason: 'INTEGRITY' });
    expect(await store.read(REALM, theirs.id)).toEqual(theirs);
  });
});
