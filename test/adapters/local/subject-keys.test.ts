import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Engine, openEngine } from '../../support/local-engine.ts';
import { newDirectory } from '../../support/local-stores.ts';
import { person, REALM } from '../../support/store-samples.ts';

let directory: ReturnType<typeof newDirectory>;
let engine: Engine;

beforeEach(async () => {
  directory = newDirectory();
  engine = await openEngine(directory.path);
});
afterEach(() => {
  engine.close();
  directory[Symbol.dispose]();
});

/** In a unit of its own. */
const keyOf = (subject: string) => {
  engine.transaction.beginUnit();
  const key = engine.keys.of(REALM, subject);
  engine.transaction.keepUnit();
  engine.keys.keepUnit();
  return key;
};
const commit = () => {
  engine.transaction.commit();
  engine.keys.committed();
};
const reopen = async () => {
  engine.close();
  engine = await openEngine(directory.path);
};

it('makes one key per person and realm, new until it is committed', async () => {
  const subject = person();
  const key = keyOf(subject);
  expect(key).toMatchObject({ realm: REALM, subject, isNew: true, ref: expect.stringMatching(/^[0-9a-z]{26}$/) });
  expect(key.key).toHaveLength(32);
  expect(keyOf(subject)).toEqual(key);
  commit();
  expect(keyOf(subject)).toEqual({ ...key, isNew: false });
  expect(engine.keys.of('other', subject).ref).not.toBe(key.ref);
  await reopen();
  const { isNew: _known, ...stored } = key;
  expect(engine.keys.find(REALM, subject)).toEqual(stored);
  expect(engine.keys.findByRef(key.ref)).toEqual(stored);
  expect(engine.keys.findByRef('nobody')).toBeUndefined();
});

it('forgets the keys of a unit that was dropped, and of a batch that was rolled back', () => {
  const [dropped, undone] = [person(), person()];
  const kept = keyOf(undone);
  engine.transaction.beginUnit();
  const gone = engine.keys.of(REALM, dropped);
  engine.transaction.dropUnit();
  engine.keys.dropUnit();
  expect(engine.keys.find(REALM, dropped)).toBeUndefined();
  expect(engine.keys.findByRef(gone.ref)).toBeUndefined();
  expect(engine.keys.find(REALM, undone)?.ref).toBe(kept.ref);
  engine.transaction.rollback();
  engine.keys.rolledBack();
  expect(engine.keys.find(REALM, undone)).toBeUndefined();
});

it('restores a key that events use, and leaves one alone that is there', async () => {
  const subject = person();
  const { isNew: _new, ...key } = keyOf(subject);
  engine.transaction.rollback();
  engine.keys.rolledBack();
  engine.keys.restore(key);
  engine.keys.restore({ ...key, key: new Uint8Array(32) });
  commit();
  await reopen();
  expect(engine.keys.find(REALM, subject)).toEqual(key);
});

it('holds a bounded number of opened keys and still finds the others', () => {
  const people = Array.from({ length: 250 }, person);
  const refs = people.map((subject) => keyOf(subject).ref);
  commit();
  expect(people.map((subject) => engine.keys.find(REALM, subject)?.ref)).toEqual(refs);
});

it('keeps no key in the clear on disk', () => {
  const { key } = keyOf(person());
  commit();
  const disk = ['state.db', 'state.db-wal'].map((name) => readFileSync(join(directory.path, name)));
  expect(Buffer.concat(disk).includes(Buffer.from(key))).toBe(false);
});

it('opens no key that was moved to another person', async () => {
  const [ann, eve] = [keyOf(person()), keyOf(person())];
  commit();
  engine.transaction.run(
    'UPDATE subjects SET sealed_key = (SELECT sealed_key FROM subjects WHERE ref = $1) WHERE ref = $2',
    eve.ref,
    ann.ref,
  );
  engine.transaction.commit();
  await reopen();
  expect(() => engine.keys.find(REALM, ann.subject)).toThrow(expect.objectContaining({ reason: 'INTEGRITY' }));
  expect(engine.keys.find(REALM, eve.subject)?.key).toEqual(eve.key);
});
