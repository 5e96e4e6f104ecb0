import { create, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { verifyItems } from '#src/adapters/audit/verify.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import {
  AuditOutcome,
  AuditService,
  ChainFault,
  type ExportEventsResponseSchema,
} from '#src/gen/sallyport/v1/audit_pb.js';
import type { ExportItem } from '#src/ports/audit.ts';
import { AuditReader } from '#src/services/audit-reader.ts';
import { PageTokens } from '#src/services/page-tokens.ts';
import type { CallContext } from '#src/transport/call.ts';
import { auditHandlers } from '#src/transport/handlers/audit.ts';
import { auditBench } from '../../support/audit-files.ts';
import { AuditLogOverFile } from '../../support/audit-log-over-file.ts';
import { settle } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';

const { queryEvents, tailEvents, exportEvents, verifyChain } = AuditService.method;

function world(realmNames = ['default']) {
  const bench = auditBench();
  const file = bench.open();
  const audit = new AuditLogOverFile(file);
  const random = new SeededRandom('handlers');
  const secrets = new AesGcmSecretBox({ ring: createKeyRing(random), random });
  const reader = new AuditReader({
    audit,
    clock: bench.clock,
    pageTokens: new PageTokens(secrets),
    counters: () => ({ folded: 7, lost: 3 }),
    heartbeatMs: 15_000,
  });
  const realms = { names: new Set(realmNames), defaultRealm: realmNames[0] ?? '' };
  const handlers = auditHandlers({ reader, realms });
  const ending = new AbortController();
  const call: CallContext = {
    caller: { roles: new Set(['operator']), name: 'admin', correlationId: 'c' },
    protocol: 'grpc',
    procedure: '/sallyport.v1.AuditService/Any',
    signal: ending.signal,
    ended: undefined,
    remainingMs: () => Number.POSITIVE_INFINITY,
  };
  const write = (count: number, fields: Partial<EventDraft> = {}) =>
    audit.append(Array.from({ length: count }, () => bench.draft(fields)));
  const query = async (init: MessageInitShape<typeof queryEvents.input>) =>
    create(queryEvents.output, await handlers.queryEvents(create(queryEvents.input, init), call));
  const tail = (init: MessageInitShape<typeof tailEvents.input> = {}) =>
    handlers.tailEvents(create(tailEvents.input, init), call)[Symbol.asyncIterator]();
  return { bench, file, audit, handlers, call, ending, write, query, tail };
}

describe('QueryEvents', () => {
  it('pages newest first without gaps or doubles while events keep coming', async () => {
    const { query, write } = world();
    await write(25);
    const seen: bigint[] = [];
    let pageToken = '';
    do {
      const page = await query({ pageSize: 10, pageToken, filter: { types: ['challenge.*'] } });
      seen.push(...page.events.map(({ sequence }) => sequence));
      pageToken = page.nextPageToken;
      await write(3);
    } while (pageToken !== '');
    expect(seen).toHaveLength(25);
    expect(seen).toEqual([...new Set(seen)].toSorted((left, right) => Number(right - left)));
  });

  it('gives no token when the page is exactly full', async () => {
    const { query, write } = world();
    await write(10, { type: 'session.created' });
    const page = await query({ pageSize: 10, filter: { types: ['session.created'] } });
    expect(page.events).toHaveLength(10);
    expect(page.nextPageToken).toBe('');
  });

  it('refuses a page token of another search, an altered and an invented one', async () => {
    const { query, write } = world();
    await write(5);
    const { nextPageToken } = await query({ pageSize: 2 });
    expect(nextPageToken).not.toBe('');
    const altered = nextPageToken.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    for (const [pageToken, filter] of [
      [nextPageToken, { types: ['session.*'] }],
      [nextPageToken, { realm: 'default' }],
      [`x${altered}`, {}],
      ['rubbish', {}],
    ] as const)
      await expect(
        query({ pageSize: 2, pageToken, filter: { ...filter, types: [...('types' in filter ? filter.types : [])] } }),
      ).rejects.toMatchObject({
        kind: 'invalid',
        reason: 'TOKEN_INVALID',
      });
  });

  it('applies the rules of page sizes: 100 by default, at most 1000, never negative', async () => {
    const { query, write } = world();
    await write(1_100);
    expect((await query({})).events).toHaveLength(100);
    expect((await query({ pageSize: 5_000 })).events).toHaveLength(1_000);
    await expect(query({ pageSize: -1 })).rejects.toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID' });
  });

  it('shows every field of an event', async () => {
    const { query, write, bench } = world();
    await write(1, {
      subject: 'ann',
      method: 'totp',
      factorId: 'fac_1',
      actionDigest: 'sha-256:x',
      reason: 'PROOF',
      correlationId: 'corr',
      count: 4,
      facts: { b: '2', a: '1' },
    });
    const [event] = (await query({ filter: { subject: 'ann' } })).events;
    expect(event).toMatchObject({
      type: 'challenge.approved',
      realm: 'default',
      subject: 'ann',
      outcome: AuditOutcome.SUCCESS,
      reason: 'PROOF',
      caller: 'grpc',
      correlationId: 'corr',
      factorId: 'fac_1',
      method: 1,
      actionDigest: 'sha-256:x',
      count: 4n,
      ipAddress: '192.0.2.7',
      userAgent: 'Mozilla/5.0',
      facts: [
        { key: 'a', value: '1' },
        { key: 'b', value: '2' },
      ],
    });
    expect(event?.subjectRef).toBe(bench.keys.find('default', 'ann')?.ref);
    expect(event?.hash).toHaveLength(32);
  });

  it('needs a realm for a subject where there are several, and refuses realms that are not served', async () => {
    const { query } = world(['default', 'shop']);
    await expect(query({ filter: { subject: 'ann' } })).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
    await expect(query({ filter: { realm: 'elsewhere' } })).rejects.toMatchObject({ reason: 'REALM_UNKNOWN' });
    const [start, end] = [timestampFromMs(2_000), timestampFromMs(1_000)];
    await expect(query({ filter: { startTime: start, endTime: end } })).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
  });
});

describe('TailEvents', () => {
  const next = async (tail: AsyncIterator<MessageInitShape<typeof tailEvents.output>>) => (await tail.next()).value;

  it('begins with the backlog, oldest first, and goes on with what becomes durable', async () => {
    const { tail, write, bench } = world();
    await write(5);
    const follower = tail({ backlog: 2, filter: { types: ['challenge.approved'] } });
    expect((await next(follower)).event.sequence).toBe(5n);
    expect((await next(follower)).event.sequence).toBe(6n);
    const waiting = next(follower);
    await settle();
    await write(1, { type: 'session.created' });
    await write(1);
    await bench.clock.advanceSlowly(200, 50);
    expect((await waiting).event).toMatchObject({ sequence: 8n, type: 'challenge.approved' });
    await follower.return?.();
  });

  it('misses nothing that is written while it starts or while nobody reads', async () => {
    const { tail, write, bench } = world();
    const follower = tail({ backlog: 0, filter: { types: ['challenge.approved'] } });
    const first = next(follower);
    await settle();
    await write(500);
    await bench.clock.advanceSlowly(200, 50);
    const seen = [(await first).event.sequence];
    await write(100);
    while (seen.length < 600) {
      const waiting = next(follower);
      if (seen.length >= 500) await bench.clock.advanceSlowly(200, 50);
      seen.push((await waiting).event.sequence);
    }
    expect(seen).toEqual(Array.from({ length: 600 }, (_, index) => (seen[0] ?? 0n) + BigInt(index)));
    await follower.return?.();
  });

  it('sends an empty message when nothing happened for 15 seconds', async () => {
    const { tail, bench } = world();
    const follower = tail();
    const waiting = next(follower);
    await settle();
    bench.clock.advance(14_999);
    await settle();
    bench.clock.advance(1);
    expect(await waiting).toEqual({});
    await follower.return?.();
  });

  it('ends with the call and leaves nothing behind', async () => {
    const { tail, ending, audit, bench } = world();
    const follower = tail();
    const waiting = follower.next();
    await settle();
    expect(audit.listeners).toBe(1);
    ending.abort();
    expect((await waiting).done).toBe(true);
    expect(audit.listeners).toBe(0);
    expect(bench.clock.pending).toBe(0);
  });

  it('refuses a backlog beyond 1000', async () => {
    const { tail } = world();
    await expect(tail({ backlog: 1_001 }).next()).rejects.toMatchObject({ kind: 'invalid' });
  });
});

describe('ExportEvents', () => {
  it('gives a verifier everything it needs, over several pages', async () => {
    const { handlers, write, call, file } = world();
    for (let batch = 0; batch < 6; batch += 1) await write(100);
    const items: ExportItem[] = [];
    for await (const init of handlers.exportEvents(create(exportEvents.input, {}), call))
      items.push(itemFromProto(create(exportEvents.output, init)));
    expect(verifyItems(items)).toMatchObject({ intact: true, rows: file.head().sequence });
    expect(items.at(-1)?.kind).toBe('checkpoint');
  });

  it('gives a stretch, and refuses a chain that is not here and an upside-down range', async () => {
    const { handlers, write, call, file } = world();
    await write(20);
    const collect = async (init: MessageInitShape<typeof exportEvents.input>) => {
      const items: ExportItem[] = [];
      for await (const item of handlers.exportEvents(create(exportEvents.input, init), call))
        items.push(itemFromProto(create(exportEvents.output, item)));
      return items;
    };
    const { chainId } = file.head();
    const rows = (await collect({ chainId, startSequence: 5n, endSequence: 9n })).filter(({ kind }) => kind === 'row');
    expect(rows).toHaveLength(5);
    await expect(collect({ chainId: 'chn_00000000000000000000000000' })).rejects.toMatchObject({ kind: 'not-found' });
    await expect(collect({ startSequence: 9n, endSequence: 5n })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(collect({ startSequence: 2n ** 63n })).rejects.toMatchObject({ kind: 'invalid' });
  });
});

describe('VerifyChain and GetBufferStatus', () => {
  it('says that all holds, and where it does not', async () => {
    const { handlers, write, call, bench } = world();
    await write(10);
    const ask = () => handlers.verifyChain(create(verifyChain.input, {}), call);
    expect(await ask()).toMatchObject({ intact: true, rows: 11n });
    const db = new SqliteDatabase(bench.path);
    db.exec("UPDATE events SET record = x'00' WHERE position = 5");
    db.close();
    expect(await ask()).toMatchObject({ intact: false, fault: ChainFault.EDITED, sequence: 5n });
  });

  it('reports how far accepted, durable and signed are apart', async () => {
    const { handlers, write, call, file, bench } = world();
    await write(10);
    const ask = () => handlers.getBufferStatus(create(AuditService.method.getBufferStatus.input, {}), call);
    const before = file.status().anchoredSequence;
    expect(await ask()).toMatchObject({
      chainId: file.head().chainId,
      accepted: 10n,
      durableSequence: BigInt(before + 10),
      anchoredSequence: BigInt(before),
      writable: true,
      folded: 7n,
      lost: 3n,
    });
    file.checkpoint(bench.clock.now());
    expect(await ask()).toMatchObject({ anchoredSequence: BigInt(before + 10) });
  });
});

function itemFromProto({ item }: MessageShape<typeof ExportEventsResponseSchema>): ExportItem {
  switch (item.case) {
    case 'chain':
      return { kind: 'chain', chain: item.value };
    case 'key':
      return { kind: 'key', key: item.value };
    case 'row':
      return { kind: 'row', row: { ...item.value, sequence: Number(item.value.sequence) } };
    case 'checkpoint': {
      const { signTime, sequence, ...rest } = item.value;
      const signedAt = Number(signTime?.seconds ?? 0n) * 1000 + (signTime?.nanos ?? 0) / 1e6;
      return { kind: 'checkpoint', checkpoint: { ...rest, sequence: Number(sequence), signedAt } };
    }
    default:
      throw new Error('an empty piece');
  }
}
