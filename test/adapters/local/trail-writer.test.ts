import { describe, expect, it } from 'vitest';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { ProvidedKeys } from '#src/adapters/local/provided-keys.ts';
import { TrailWriter, type TrailWriterOptions } from '#src/adapters/local/trail-writer.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { auditBench } from '../../support/audit-files.ts';
import { SILENT } from '../../support/local-stores.ts';
import { idsNamedBy } from '../../support/local-trail.ts';
import { SeededRandom } from '../../support/random.ts';

const AUDIT_DOWN = { kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' };

/** A writer over a real file whose commits can be made to fail, or to say that they failed. */
function bench(more: Partial<TrailWriterOptions> = {}) {
  const files = auditBench();
  const keys = new ProvidedKeys({ maxCached: 10, past: undefined });
  const file = files.openFlushed({ subjectKeys: keys });
  let commits = 0;
  let trouble: 'none' | 'before' | 'after' = 'none';
  const audit: AuditFile = Object.create(file, {
    commit: {
      value: () => {
        commits += 1;
        const failing = trouble;
        trouble = 'none';
        if (failing === 'before') file.rollback();
        else {
          const position = file.commit();
          if (failing === 'none') return position;
        }
        throw new Error('the disk said no');
      },
    },
  });
  // Methods of a class with private members have to be called on the object itself.
  for (const name of ['stage', 'rollback', 'head', 'eventIdsAfter', 'query', 'after'] as const)
    Object.defineProperty(audit, name, { value: file[name].bind(file) });
  let now = 1_000_000;
  const writer = new TrailWriter({
    audit,
    keys,
    random: new SeededRandom('trail writer'),
    now: () => now,
    monotonic: () => now,
    log: SILENT,
    onAppend: () => {},
    maxBatch: 256,
    last: undefined,
    ...more,
  });
  writer.bringInLine();
  const named = () => file.query({ types: ['audit.unconfirmed'] }, 100).flatMap(idsNamedBy);
  const event = (fields: Partial<EventDraft> = {}): EventDraft => {
    const { subject: _, ipAddress: __, userAgent: ___, ...draft } = files.draft(fields);
    return draft;
  };
  return {
    writer,
    file,
    event,
    named,
    commits: () => commits,
    fail: (how: 'before' | 'after') => {
      trouble = how;
    },
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe('the writer of a trail', () => {
  it('lets calls that arrive together share a commit', async () => {
    const { writer, event, commits, file } = bench();
    const before = commits();
    const positions = await Promise.all(
      Array.from({ length: 200 }, (_, index) => writer.take([event(), event()], [], index + 1)),
    );
    expect(commits() - before).toBe(1);
    const first = positions[0] ?? 0;
    expect(positions).toEqual(Array.from({ length: 200 }, (_, index) => first + 2 * index));
    expect(file.head().position).toBe(positions.at(-1));
  });

  it('refuses all calls of a commit that failed, names none of them, and takes the next', async () => {
    const { writer, event, named, fail, pass } = bench();
    fail('before');
    const refused = await Promise.allSettled([writer.take([event()], [], 1), writer.take([event()], [], 2)]);
    expect(refused.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    pass(300);
    await writer.take([event()], [], 3);
    expect(named()).toEqual([]);
    await writer.revoke([1, 2]);
    expect(named()).toEqual([]);
  });

  it('names the events of a commit that is on the disk although it was said to have failed', async () => {
    const { writer, event, named, fail, pass } = bench();
    const [doubted, fact] = [event(), event({ type: 'limit.hit' })];
    fail('after');
    await expect(writer.take([doubted, fact], [], 1)).rejects.toThrow('the disk said no');
    // Until they are named, nothing else is taken.
    await expect(writer.take([event()], [], 2)).rejects.toMatchObject(AUDIT_DOWN);
    pass(300);
    await writer.take([event()], [], 3);
    expect(named()).toEqual([doubted.id]);
  });

  it('revokes what is still on its way to the disk, in the same commit', async () => {
    const { writer, event, named, commits } = bench();
    const late = event();
    const before = commits();
    await Promise.all([writer.take([late], [], 1), writer.revoke([1])]);
    expect(commits() - before).toBe(1);
    expect(named()).toEqual([late.id]);
    expect(writer.mark().open).toEqual([]);
  });

  it('keeps events open when the word that they are revoked cannot be written', async () => {
    const { writer, event, named, fail, pass } = bench();
    const open = event();
    const position = await writer.take([open], [], 1);
    fail('before');
    await expect(writer.revoke([1])).rejects.toThrow('the disk said no');
    pass(300);
    expect(writer.bringInLine()).toBe(true);
    expect(writer.mark()).toMatchObject({ open: [[position, position]] });
    await writer.revoke([1]);
    expect(named()).toEqual([open.id]);
  });

  it('tells the next start of few open events one by one, and of very many by where they begin', async () => {
    const { writer, event } = bench();
    const first = await writer.take([event()], [], 1);
    await writer.take([event()], [], 2);
    writer.confirm([2]);
    const third = await writer.take([event(), event()], [], 3);
    expect(writer.mark()).toMatchObject({
      position: third,
      open: [
        [first, first],
        [third - 1, third],
      ],
    });
    await Promise.all(Array.from({ length: 1_100 }, (_, index) => writer.take([event()], [], 10 + index)));
    expect(writer.mark()).toMatchObject({ position: first - 1 });
    expect(writer.mark().open).toBeUndefined();
  });

  it('knows who is open for too long', async () => {
    const { writer, event, pass } = bench();
    await writer.take([event()], [], 1);
    pass(1_000);
    await writer.take([event()], [], 2);
    expect(writer.openSince(1_000_500)).toEqual([1]);
  });

  it('refuses a personal event that comes without a key, and no other', async () => {
    const { writer, event } = bench();
    const [without, other] = await Promise.allSettled([
      writer.take([event(), { ...event(), subject: 'kim' }], [], 1),
      writer.take([event()], [], 2),
    ]);
    expect(without.status).toBe('rejected');
    expect(other.status).toBe('fulfilled');
  });
});
