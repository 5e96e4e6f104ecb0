import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { LocalTrail } from '#src/adapters/local/trail-client.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import { newDirectory, openTestStorage, TEST_RING } from '../../support/local-stores.ts';
import { openTestTrail, presentEvent } from '../../support/local-trail.ts';
import { flushAll, MemoryCentral } from '../../support/memory-central.ts';
import { person, REALM } from '../../support/store-samples.ts';

const digest = new HmacKeyedDigest({ ring: TEST_RING });
const mark = (subject: string) =>
  Buffer.from(digest.digest(ERASURE_MARK, markOf(REALM, subject))).toString('base64url');

async function world() {
  const directory = newDirectory();
  onTestFinished(() => directory[Symbol.dispose]());
  const central = new MemoryCentral();
  let trail: LocalTrail | undefined;
  onTestFinished(async () => trail?.[Symbol.asyncDispose]());
  const open = async () => {
    await trail?.[Symbol.asyncDispose]();
    trail = await openTestTrail(directory.path, { subjectKeys: central, keyTimeoutMs: 50 });
    return trail;
  };
  return { directory, central, open };
}

/** Keys of persons in the file. */
function waitingOnDisk(directory: string): number {
  const file = new Database(join(directory, 'audit.db'), { readonly: true });
  const row = file.prepare<[], { waiting: number }>('SELECT COUNT(*) AS waiting FROM stashed_keys').get();
  file.close();
  return row?.waiting ?? -1;
}

const act = (trail: LocalTrail, subject: string) =>
  trail.audit.append([presentEvent('challenge.refused', { subject, ipAddress: '203.0.113.7', outcome: 'REFUSED' })]);

async function onlyKeyOf(central: MemoryCentral, subject: string): Promise<void> {
  const subjects = () => [...central.subjectKeys.values()].map((key) => key.subject);
  await vi.waitFor(() => expect(subjects()).toEqual([subject]), { timeout: 10_000 });
}

/** As a sidecar whose state is in the same directory. */
async function workAlone(directory: string, subjects: readonly string[]): Promise<void> {
  const alone = await openTestStorage(directory);
  for (const subject of subjects) await alone.audit.append([presentEvent('session.created', { subject })]);
  await alone[Symbol.asyncDispose]();
}

describe('a person who was erased while this sidecar was cut off', () => {
  it('has no key here any more: none waits, none is brought to the database, none comes back with a start', async () => {
    const { central, open } = await world();
    let trail = await open();
    const [ann, bob] = [person(), person()];
    central.condition = 'down';
    await act(trail, ann);
    await act(trail, bob);
    const waiting = await trail.source.backlog(100);
    const ref = waiting.subjectKeys.find(({ subject }) => subject === ann)?.ref ?? '';
    expect(waiting.subjectKeys).toHaveLength(2);

    expect(await trail.forget([mark(ann)])).toEqual([ref]);
    expect((await trail.source.backlog(100)).subjectKeys.map(({ subject }) => subject)).toEqual([bob]);
    trail = await open();
    central.condition = 'up';
    expect((await trail.source.backlog(100)).subjectKeys.map(({ subject }) => subject)).toEqual([bob]);
    const refused = await trail.audit.query({ types: ['challenge.refused'] }, 10);
    expect(refused.map(({ subject, ipAddress }) => [subject, ipAddress])).toEqual([
      [bob, '203.0.113.7'],
      ['', ''],
    ]);
    await flushAll(trail.source, central);
    expect([...central.subjectKeys.values()].map(({ subject }) => subject)).toEqual([bob]);
    expect(central.verify()).toMatchObject({ intact: true });
  });

  it('has another key with the next event, which is not the one that is gone', async () => {
    const { central, open } = await world();
    const trail = await open();
    const ann = person();
    central.condition = 'down';
    await act(trail, ann);
    const [old = ''] = await trail.forget([mark(ann)]);
    await act(trail, ann);
    const { subjectKeys } = await trail.source.backlog(100);
    expect(subjectKeys).toHaveLength(1);
    expect(subjectKeys[0]?.ref).not.toBe(old);
  });

  it('is named as one whose key may be in the database by now, when it was on its way there', async () => {
    const { central, open } = await world();
    const trail = await open();
    const ann = person();
    central.condition = 'down';
    await act(trail, ann);
    central.condition = 'up';
    await flushAll(trail.source, central);
    const [ref = ''] = central.subjectKeys.keys();
    expect(await trail.forget([mark(ann)])).toEqual([ref]);
  });

  it('has no key in the database when a batch that had it came there after the erasure was heard of', async () => {
    const { central, open } = await world();
    const trail = await open();
    const [ann, bob] = [person(), person()];
    central.condition = 'down';
    await act(trail, ann);
    await act(trail, bob);
    central.condition = 'up';
    const onItsWay = await trail.source.backlog(100);
    // Nothing of hers is there yet that could be destroyed.
    await central.destroy(await trail.forget([mark(ann)]));
    await central.store(onItsWay);
    await trail.source.flushed(onItsWay);
    await onlyKeyOf(central, bob);
  });

  it('has none there either from the time when this sidecar was on its own', async () => {
    const { directory, central, open } = await world();
    const [ann, bob] = [person(), person()];
    await workAlone(directory.path, [ann, bob]);
    const trail = await open();
    const onItsWay = await trail.source.backlog(100);
    await central.destroy(await trail.forget([mark(ann)]));
    await central.store(onItsWay);
    await trail.source.flushed(onItsWay);
    await onlyKeyOf(central, bob);
  });

  it('had a key here from the time when this sidecar was on its own, which goes as well', async () => {
    const { directory, central, open } = await world();
    const [ann, bob] = [person(), person()];
    await workAlone(directory.path, [ann, bob]);
    const trail = await open();
    expect(await trail.forget([mark(ann)])).toHaveLength(1);
    const created = await trail.audit.query({ types: ['session.created'] }, 10);
    expect(created.map(({ subject }) => subject)).toEqual([bob, '']);
    await flushAll(trail.source, central);
    expect([...central.subjectKeys.values()].map(({ subject }) => subject)).toEqual([bob]);
  });
});

it('remembers over a start how far the log of erasures is done with', async () => {
  const { open } = await world();
  let trail = await open();
  expect(await trail.erasedThrough()).toBe(0);
  await trail.forgotThrough(41);
  trail = await open();
  expect(await trail.erasedThrough()).toBe(41);
});

it('looks for erasures once more before keys that reached the database leave the disk, and holds up no flush by it', async () => {
  const { directory, central } = await world();
  const { promise: looked, resolve: look } = Promise.withResolvers<void>();
  const trail: LocalTrail = await openTestTrail(directory.path, {
    subjectKeys: central,
    keyTimeoutMs: 50,
    beforeKeysLeave: () => looked,
  });
  onTestFinished(() => trail[Symbol.asyncDispose]());
  const ann = person();
  central.condition = 'down';
  await act(trail, ann);
  central.condition = 'up';
  await flushAll(trail.source, central);
  const refs = [...central.subjectKeys.values()].map(({ ref }) => ref);
  expect(refs).toHaveLength(1);
  // The look goes on, and what it may find is still there to be forgotten.
  expect(await trail.forget([mark(ann)])).toEqual(refs);
  look();
});

it('lets keys that reached the database leave the disk after the look, and tries a look that failed again', async () => {
  const { directory, central } = await world();
  let looks = 0;
  const trail: LocalTrail = await openTestTrail(directory.path, {
    subjectKeys: central,
    keyTimeoutMs: 50,
    beforeKeysLeave: async () => {
      looks += 1;
      if (looks === 1) throw new Error('the database is busy');
    },
  });
  onTestFinished(() => trail[Symbol.asyncDispose]());
  central.condition = 'down';
  const ann = person();
  await act(trail, ann);
  central.condition = 'up';
  await flushAll(trail.source, central);
  await act(trail, person());
  await flushAll(trail.source, central);
  await vi.waitFor(() => expect(looks).toBe(2), { timeout: 10_000 });
  await vi.waitFor(() => expect(waitingOnDisk(directory.path)).toBe(0), { timeout: 10_000 });
});
