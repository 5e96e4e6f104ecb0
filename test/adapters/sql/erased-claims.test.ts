import { expect, it } from 'vitest';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { SqlSubjectStore } from '#src/adapters/sql/subject-store.ts';
import { MemorySql } from '../../support/memory-sql.ts';
import { burnOf, challengeOf, claimOf, person, REALM, T0 } from '../../support/store-samples.ts';

/** The table is read as a whole, and many requests of everybody are in it. */
it('goes through the claims of requests once to erase somebody, however many challenges they had', async () => {
  const sql = new MemorySql([]);
  const looks: string[] = [];
  const watched: SqlExecutor = {
    read: (text, ...params) => sql.read(text, ...params),
    unit: (work) =>
      sql.unit((tx) =>
        work({
          all: (text, ...params) => tx.all(text, ...params),
          run: (text, ...params) => {
            if (text.includes('request_claims')) looks.push(text);
            return tx.run(text, ...params);
          },
          alone: (realm, subject) => tx.alone(realm, subject),
          record: (...drafts) => tx.record(...drafts),
        }),
      ),
  };
  const challenges = new SqlChallengeStore(sql);
  const subject = person();
  const store = new SqlSubjectStore(watched, { table: 'subjects' });
  const requests = [];
  for (let made = 0; made < 23; made += 1) {
    const { receiptId, expiresAt: receiptExpiresAt } = burnOf();
    const approved = { state: 'APPROVED', approvalReason: 'TRUSTED_DEVICE', receiptId, receiptExpiresAt } as const;
    const challenge = challengeOf({ subject, ...approved });
    const request = claimOf({ seed: Buffer.from(challenge.id) });
    await challenges.open({ challenge, maxOpen: 99, events: [], request });
    requests.push(request);
  }
  const kept = claimOf();
  await challenges.open({ challenge: challengeOf(), maxOpen: 99, events: [], request: kept });
  await store.erase({ realm: REALM, subject, mark: 'm', now: T0, events: [] });
  expect(looks).toHaveLength(1);
  for (const request of requests) expect(await store.known(request, T0)).toBeUndefined();
  expect(await store.known(kept, T0)).toMatchObject({ outcome: 'repeat' });
});
