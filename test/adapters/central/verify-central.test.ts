import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { parseRecord } from '#src/adapters/audit/record.ts';
import { rowHash } from '#src/adapters/audit/row-hash.ts';
import { CentralChains } from '#src/adapters/central/central-chains.ts';
import { FLUSH, flushParameters } from '#src/adapters/central/flush-statement.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import type { Row } from '#src/adapters/sql/executor.ts';
import { AuditRecordSchema } from '#src/gen/sallyport/v1/audit_pb.js';
import type { ChainFault, ExportItem, Verdict } from '#src/ports/audit.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';
import { backlogOf, backlogOfItems, type CentralTrail, centralTrail } from '../../support/central-trail.ts';
import { SeededRandom } from '../../support/random.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** A trail of three sidecars with thirty-one rows and a few checkpoints each; answers their chains in order of name. */
async function fleet(): Promise<{ readonly trail: CentralTrail; readonly ids: readonly string[] }> {
  const trail = await centralTrail(server);
  const ids: string[] = [];
  for (const sidecar of ['a', 'b', 'c']) {
    const bench = auditBench();
    const file = bench.open({ random: new SeededRandom(sidecar) });
    for (let batch = 0; batch < 3; batch += 1) {
      writeEvents(bench, file, 10);
      file.checkpoint(bench.clock.now());
    }
    const backlog = backlogOf(file);
    file.close();
    await trail.target.store(backlog);
    ids.push(backlog.rows[0]?.chainId ?? '');
  }
  return { trail, ids: ids.toSorted() };
}

const verdictOf = async (trail: CentralTrail, chainId = '') => (await verifyCentral(trail.chains, { chainId })).verdict;

/** What somebody did to the middle chain, as statements; $1 is its id. Row 7 is the one harmed unless said otherwise. */
const DAMAGE: readonly {
  readonly what: string;
  readonly sql: readonly string[];
  readonly fault: ChainFault;
  readonly sequence?: number;
}[] = [
  {
    what: 'a record was altered',
    sql: [`UPDATE audit_events SET record = '\\x08' WHERE chain_id = $1 AND sequence = 7`],
    fault: 'EDITED',
  },
  {
    what: 'a hash was altered',
    sql: [`UPDATE audit_events SET hash = sha256('x') WHERE chain_id = $1 AND sequence = 7`],
    fault: 'EDITED',
  },
  ...['realm', 'type', 'subject_ref', 'challenge_id', 'session_id', 'factor_id'].map((column) => ({
    what: `the column ${column} was altered`,
    sql: [`UPDATE audit_events SET ${column} = 'x' WHERE chain_id = $1 AND sequence = 7`],
    fault: 'EDITED' as const,
  })),
  {
    what: 'the outcome was altered',
    sql: ['UPDATE audit_events SET outcome = 3 WHERE chain_id = $1 AND sequence = 7'],
    fault: 'EDITED',
  },
  {
    what: 'the time was altered',
    sql: ['UPDATE audit_events SET at = at + 1 WHERE chain_id = $1 AND sequence = 7'],
    fault: 'EDITED',
  },
  {
    what: 'a row was taken out',
    sql: ['DELETE FROM audit_events WHERE chain_id = $1 AND sequence = 7'],
    fault: 'MISSING',
  },
  {
    what: 'the first row was taken out',
    sql: ['DELETE FROM audit_events WHERE chain_id = $1 AND sequence = 1'],
    fault: 'MISSING',
    sequence: 1,
  },
  {
    what: 'a row got another number',
    sql: ['UPDATE audit_events SET sequence = 99 WHERE chain_id = $1 AND sequence = 7'],
    fault: 'MISSING',
  },
  {
    what: 'two rows changed places',
    sql: [
      'UPDATE audit_events SET sequence = 1000 WHERE chain_id = $1 AND sequence = 7',
      'UPDATE audit_events SET sequence = 7 WHERE chain_id = $1 AND sequence = 9',
      'UPDATE audit_events SET sequence = 9 WHERE chain_id = $1 AND sequence = 1000',
    ],
    fault: 'REORDERED',
  },
  {
    what: 'the tail was cut off',
    sql: ['DELETE FROM audit_events WHERE chain_id = $1 AND sequence >= 7'],
    fault: 'TRUNCATED',
  },
  {
    what: 'all rows were taken away',
    sql: ['DELETE FROM audit_events WHERE chain_id = $1'],
    fault: 'TRUNCATED',
    sequence: 1,
  },
  {
    what: 'two rows claim one number, in two partitions',
    sql: [
      `INSERT INTO audit_events (chain_id, sequence, at, realm, type, outcome, subject_ref, challenge_id, session_id,
         factor_id, previous_hash, record, hash)
       SELECT chain_id, sequence, at + 90 * 86400000::bigint, realm, type, outcome, subject_ref, challenge_id, session_id,
         factor_id, previous_hash, record, hash FROM audit_events WHERE chain_id = $1 AND sequence = 7`,
    ],
    fault: 'FORKED',
  },
  {
    what: 'a signed head is another one',
    sql: [
      'UPDATE audit_checkpoints SET signature = (SELECT signature FROM audit_checkpoints WHERE chain_id <> $1 LIMIT 1) WHERE chain_id = $1 AND sequence = 11',
    ],
    fault: 'SIGNATURE',
    sequence: 11,
  },
  {
    what: 'the key of the checkpoints was exchanged',
    sql: [`UPDATE audit_checkpoint_keys SET public_key = sha256('x') WHERE $1 <> ''`],
    fault: 'SIGNATURE',
    sequence: 0,
  },
  {
    what: 'the beginning was altered',
    sql: [`UPDATE audit_chains SET begin_reason = 'recovered' WHERE chain_id = $1`],
    fault: 'LINK',
    sequence: 1,
  },
  {
    what: 'the beginning was taken away',
    sql: ['DELETE FROM audit_chains WHERE chain_id = $1'],
    fault: 'LINK',
    sequence: 0,
  },
];

describe('verification of the central trail', () => {
  it('finds the chains of all sidecars intact, one of them alone too', async () => {
    const { trail, ids } = await fleet();
    expect(await verifyCentral(trail.chains, { chainId: '' })).toEqual({
      verdict: { intact: true, rows: 93, checkpoints: 12 },
      chains: 3,
      pruned: 0,
      unsigned: 0,
    });
    expect(await verdictOf(trail, ids[1])).toEqual({ intact: true, rows: 31, checkpoints: 4 });
    await expect(verdictOf(trail, 'chn_nobody')).rejects.toMatchObject({
      kind: 'not-found',
      reason: 'EVENT_NOT_FOUND',
    });
  });

  it('finds an empty trail intact', async () => {
    const trail = await centralTrail(server);
    expect(await verdictOf(trail)).toEqual({ intact: true, rows: 0, checkpoints: 0 });
  });

  it('names every kind of damage, the chain and its first bad row', async () => {
    const { trail, ids } = await fleet();
    const id = ids[1] ?? '';
    for (const { what, sql, fault, sequence = 7 } of DAMAGE) {
      const verdict = await afterHarm(trail, sql, id);
      expect(verdict, what).toMatchObject({ intact: false, fault, sequence, ...(sequence > 0 && { chainId: id }) });
    }
    expect(await verdictOf(trail)).toMatchObject({ intact: true });
  });

  it('finds a second row under one number that is sound in itself, in an earlier partition or a later one', async () => {
    const { trail, ids } = await fleet();
    const id = ids[1] ?? '';
    const { rows } = await trail.chains.rows(id, { sequence: 6, at: Number.MAX_SAFE_INTEGER }, 7);
    const [found] = rows;
    if (!found) throw new Error('there is no row 7');
    for (const days of [-400, 400]) {
      const record = parseRecord(found.row.record);
      record.occurredAtMs += BigInt(days * 86_400_000);
      const bytes = toBinary(AuditRecordSchema, record);
      const hash = rowHash(id, 7, found.row.previousHash, bytes);
      const twin = { ...found.row, record: bytes, hash };
      const parameters = flushParameters({ chains: [], keys: [], checkpoints: [], subjectKeys: [] }, [twin]);
      await trail.sql('BEGIN');
      await trail.sql(FLUSH, parameters);
      const verdict = await inside(trail);
      await trail.sql('ROLLBACK');
      expect(verdict).toMatchObject({ intact: false, fault: 'FORKED', chainId: id, sequence: 7 });
    }
  });

  it('takes only the keys that it is told to trust', async () => {
    const { trail } = await fleet();
    const [key] = await trail.chains.keys();
    const of = async (trusted: string) =>
      (await verifyCentral(trail.chains, { chainId: '', trustedKeyIds: new Set([trusted]) })).verdict;
    expect(await of(key?.keyId ?? '')).toMatchObject({ intact: true });
    expect(await of('f'.repeat(32))).toMatchObject({ intact: false, fault: 'SIGNATURE' });
  });

  it('says how many rows no checkpoint covers yet', async () => {
    const trail = await centralTrail(server);
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 10);
    file.checkpoint(bench.clock.now());
    writeEvents(bench, file, 4);
    const backlog = backlogOf(file);
    file.close();
    await trail.target.store({ ...backlog, checkpoints: backlog.checkpoints.filter(({ sequence }) => sequence <= 11) });
    expect(await verifyCentral(trail.chains, { chainId: '' })).toMatchObject({
      verdict: { intact: true },
      unsigned: 4,
    });
  });

  it('links a chain to the one before it, wherever that one ends by now', async () => {
    const { trail, ids } = await fleet();
    const [first, second, third] = ids;
    const head = await trail.target.head(first ?? '');
    const begin = (id: string, parent: string, hash: Uint8Array) =>
      trail.sql(
        'INSERT INTO audit_chains (chain_id, parent_chain_id, parent_head_hash, begin_reason) VALUES ($1, $2, $3, $4)',
        [id, parent, hash, 'recovered'],
      );
    const { rows } = await trail.chains.rows(first ?? '', { sequence: 8, at: Number.MAX_SAFE_INTEGER }, 9);
    const links: readonly (readonly [string, Uint8Array, ChainFault])[] = [
      // Sound: what follows is that the new chain has no rows.
      [first ?? '', head.hash, 'TRUNCATED'],
      [first ?? '', rows[0]?.row.hash ?? head.hash, 'TRUNCATED'],
      ['chn_unknown', head.hash, 'TRUNCATED'],
      [second ?? '', head.hash, 'LINK'],
      [third ?? '', new Uint8Array(32), 'LINK'],
    ];
    for (const [parent, hash, fault] of links) {
      await begin('chn_zzz', parent, hash);
      expect(await verdictOf(trail, 'chn_zzz'), parent).toMatchObject({ fault, sequence: 1 });
      await trail.sql(`DELETE FROM audit_chains WHERE chain_id = 'chn_zzz'`);
    }
  });

  it('finds what hides rows: a policy, a trigger, a rule, a view in place of a table', async () => {
    const { trail } = await fleet();
    const hide: readonly (readonly string[])[] = [
      ['ALTER TABLE audit_events_default ENABLE ROW LEVEL SECURITY'],
      ['ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY'],
      [
        'CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
        'CREATE TRIGGER t BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION drop_it()',
      ],
      ['CREATE RULE r AS ON INSERT TO audit_checkpoint_keys DO INSTEAD NOTHING'],
      [
        'ALTER TABLE audit_prunes RENAME TO audit_prunes_of_before',
        'CREATE VIEW audit_prunes AS SELECT * FROM audit_prunes_of_before',
      ],
    ];
    for (const sql of hide)
      expect(await afterHarm(trail, sql), sql.join()).toMatchObject({ intact: false, fault: 'UNREADABLE' });
  });

  it('stays small in memory over a hundred thousand rows', async () => {
    const trail = await centralTrail(server);
    const bench = auditBench();
    const file = bench.open({ maxBytes: 512 * 1024 * 1024 });
    let last = 0;
    for (let part = 0; part < 10; part += 1) {
      writeEvents(bench, file, 10_000);
      file.checkpoint(bench.clock.now());
      last = await flushFrom(trail, file, last, file.head().sequence);
    }
    file.close();
    const collect = garbageCollector();
    collect();
    const before = process.memoryUsage();
    let highest = 0;
    const { verdict } = await verifyCentral(trail.chains, {
      chainId: '',
      onProgress: (rows) => {
        if (rows % 5_000 !== 0) return;
        collect();
        const { heapUsed, external } = process.memoryUsage();
        highest = Math.max(highest, heapUsed + external - before.heapUsed - before.external);
      },
    });
    expect(verdict).toMatchObject({ intact: true, rows: last });
    expect(last).toBeGreaterThan(100_000);
    // What is held, garbage aside: all of the trail in memory would be several times as much.
    expect(highest).toBeLessThan(32 * 1024 * 1024);
  }, 120_000);
});

/** The verdict of somebody who sees the open transaction of the owner. */
async function inside(trail: CentralTrail): Promise<Verdict> {
  const chains = new CentralChains({ read: (sql, ...values) => trail.sql<Row>(sql, values) });
  return (await verifyCentral(chains, { chainId: '' })).verdict;
}

/** What verification says after these statements, which are undone again. */
async function afterHarm(trail: CentralTrail, sql: readonly string[], id?: string): Promise<Verdict> {
  await trail.sql('BEGIN');
  for (const statement of sql) await trail.sql(statement, statement.includes('$1') ? [id] : []);
  const verdict = await inside(trail);
  await trail.sql('ROLLBACK');
  return verdict;
}

/** Brings rows after one number up to another to central storage; answers the last one. */
async function flushFrom(trail: CentralTrail, file: AuditFile, after: number, to: number): Promise<number> {
  const range = { chainId: file.head().chainId, from: after + 1, to };
  const items: ExportItem[] = [];
  let cursor: string | undefined = '';
  while (cursor !== undefined) {
    const page: ReturnType<AuditFile['exportPage']> = file.exportPage(range, cursor);
    items.push(...page.items);
    cursor = page.next;
    if (items.length < 2_000 && cursor !== undefined) continue;
    await trail.target.store(backlogOfItems(items.splice(0)));
  }
  return to;
}

/** Garbage makes a figure of memory depend on when it was last collected. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}
