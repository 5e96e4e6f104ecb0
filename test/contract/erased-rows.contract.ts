import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Row, SqlExecutor } from '#src/adapters/sql/executor.ts';
import { text } from '#src/adapters/sql/row.ts';
import type { Stores } from '../support/postgres-stores.ts';
import {
  beginOf,
  bytes,
  challengeOf,
  claimOf,
  codeSetOf,
  confirmOf,
  createOf,
  deviceOf,
  eventOf,
  factorOf,
  issuedOf,
  LIMITS,
  person,
  REALM,
  sessionOf,
  T0,
} from '../support/store-samples.ts';

/** A database with its stores, and how to look into it. */
export interface OpenDatabase {
  readonly sql: SqlExecutor;
  readonly stores: Stores;
  /** Answers the names of all tables. */
  readonly listTables: string;
  /** Makes the key of a person's audit fields, as the trail does. */
  readonly makeKey: (subject: string) => Promise<void>;
  close(): Promise<void>;
}

/** What an erasure leaves in the tables themselves: nothing that names the person. */
export function describeErasedRows(name: string, open: () => Promise<OpenDatabase>): void {
  describe(`The tables after an erasure over ${name}`, () => {
    let database: OpenDatabase;
    beforeAll(async () => {
      database = await open();
    });
    afterAll(() => database.close());

    /** Tables with a row in which one of these stands, as text or in bytes. */
    const tablesWith = async (needles: readonly string[]): Promise<readonly string[]> => {
      const found: string[] = [];
      for (const row of await database.sql.read(database.listTables)) {
        const table = text(row, 'name');
        const rows = await database.sql.read(`SELECT * FROM ${table}`);
        if (rows.some((each) => needles.some((needle) => saidIn(each).includes(needle)))) found.push(table);
      }
      return found.toSorted();
    };
    /** Leaves something in every table that may have something of a person; answers what would give them away. */
    const live = async (subject: string): Promise<readonly string[]> => {
      const { stores, makeKey } = database;
      await makeKey(subject);
      const [factor, backupCodes] = [factorOf({ subject }), codeSetOf(subject)];
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(
        confirmOf(factor, { backupCodes, events: [eventOf('factor.enrolled', { subject })] }),
      );
      const device = deviceOf({ subject });
      await stores.devices.trust({ device, maxDevices: 5, now: T0, events: [] });
      const use = { realm: REALM, subject, tokenDigest: device.tokenDigest, nextDigest: `next of ${subject}` };
      await stores.devices.use({ ...use, graceMs: 0, now: T0, events: [], reusedEvents: [] });
      const challenge = challengeOf({ subject });
      const request = claimOf({ seed: Buffer.from(challenge.id) });
      await stores.challenges.open({ challenge, maxOpen: 5, events: [], request });
      await stores.codes.issue(issuedOf({ subject, bearerId: challenge.id }));
      await stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 });
      const [live, ended] = [sessionOf({ subject }), sessionOf({ subject })];
      for (const session of [live, ended]) await stores.sessions.create(createOf(session));
      const target = { kind: 'ids', sessionIds: [ended.id] } as const;
      await stores.sessions.end({ realm: REALM, target, reason: 'LOGOUT', now: T0, event: eventOf('session.ended') });
      // A pass is there for somebody who was reset; the factor would be gone then.
      await database.sql.unit((tx) =>
        tx.run(
          'INSERT INTO temporary_passes (realm, subject, digest, expires_at) VALUES ($1, $2, $3, $4)',
          REALM,
          subject,
          bytes(),
          T0,
        ),
      );
      return [subject, challenge.id, factor.id, backupCodes.factor.id, device.id, device.tokenDigest];
    };

    it('name the person in none of them, and others as before', async () => {
      const [erased, other] = [person(), person()];
      const [given, kept] = [await live(erased), await live(other)];
      const before = await tablesWith(given);
      expect(before).toEqual(
        expect.arrayContaining([
          'attempts',
          'backup_codes',
          'challenges',
          'consents',
          'factors',
          'issued_codes',
          'notices',
          'request_claims',
          'rotated_device_tokens',
          'session_changes',
          'sessions',
          'temporary_passes',
          'trusted_devices',
        ]),
      );
      expect(before.filter((table) => /^subject/.test(table))).toHaveLength(1);
      const erasing = { realm: REALM, subject: erased, mark: 'a mark', now: T0 };
      const events = [eventOf('subject.erased', { subject: erased })];
      expect(await database.stores.subjects.erase({ ...erasing, events })).toEqual({
        outcome: 'erased',
        factors: 1,
        sessions: 1,
        devices: 1,
      });
      expect(await tablesWith(given)).toEqual([]);
      expect(await tablesWith(kept)).toEqual(before);
    });

    it('say by pseudonym and mark that it took place, with every key that the person had', async () => {
      const subject = person();
      await database.makeKey(subject);
      const refs = async () => {
        const [table] = (await database.sql.read(database.listTables)).filter((row) =>
          ['subjects', 'subject_keys'].includes(text(row, 'name')),
        );
        const named = `SELECT ref FROM ${table ? text(table, 'name') : ''} WHERE subject = $1`;
        return (await database.sql.read(named, subject)).map((row) => text(row, 'ref'));
      };
      const known = await refs();
      expect(known).toHaveLength(1);
      await database.stores.subjects.erase({ realm: REALM, subject, mark: `mark of ${known[0]}`, now: T0, events: [] });
      const logged = (await database.stores.subjects.erasuresAfter(0, 100)).map(({ subjectRef }) => subjectRef);
      expect(logged).toEqual(expect.arrayContaining([...known, `mark of ${known[0]}`]));
      expect(await refs()).toEqual([]);
    });
  });
}

function saidIn(row: Row): string {
  return Object.values(row)
    .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)))
    .join('\n');
}
