import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Tx } from '#src/adapters/sql/executor.ts';
import { type Engine, openEngine } from '../../support/local-engine.ts';
import { newDirectory } from '../../support/local-stores.ts';
import { eventOf, person, REALM } from '../../support/store-samples.ts';

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

const ADDRESS = '203.0.113.77';

const act = (subject: string) =>
  engine.executor.unit((tx) => tx.record(eventOf('session.created', { subject, ipAddress: ADDRESS })));

/** What a store does: the event, the log of erasures, and rows of the person. */
const erase = (subject: string, work: (tx: Tx) => void = () => {}) =>
  engine.executor.unit(async (tx) => {
    tx.record(eventOf('subject.erased', { subject }));
    for (const { ref = '' } of await tx.all(
      'SELECT ref FROM subjects WHERE realm = $1 AND subject = $2',
      REALM,
      subject,
    ))
      await tx.run('INSERT INTO erasures (realm, subject_ref, erased_at) VALUES ($1, $2, 1)', REALM, ref);
    await tx.run('DELETE FROM subjects WHERE realm = $1 AND subject = $2', REALM, subject);
    work(tx);
  });

const seen = () => engine.audit.query({}, 1_000);
const bytesOnDisk = () =>
  Buffer.concat(readdirSync(directory.path).map((name) => readFileSync(join(directory.path, name))));
const reopen = async () => {
  engine.close();
  engine = await openEngine(directory.path);
};

describe('the key of an erased person', () => {
  it('is destroyed with the unit: no event of theirs can be read, all others can, and the chain holds', async () => {
    const [ann, bob] = [person(), person()];
    await Promise.all([act(ann), act(bob), act(ann)]);
    const ref = seen().find(({ subject }) => subject === ann)?.subjectRef;
    await erase(ann);
    const after = seen();
    expect(after.filter(({ subject }) => subject === ann)).toEqual([]);
    const erased = after.filter(({ subjectRef }) => subjectRef === ref);
    expect(erased.map(({ type, ipAddress, userAgent }) => [type, ipAddress, userAgent])).toEqual([
      ['subject.erased', '', ''],
      ['session.created', '', ''],
      ['session.created', '', ''],
    ]);
    expect(after.filter(({ subject }) => subject === bob)).toHaveLength(1);
    expect(engine.audit.query({ realm: REALM, subject: ann }, 10)).toEqual([]);
    expect(engine.audit.verify('')).toMatchObject({ intact: true });
  });

  it('seals the event of its own end, also when nobody had used it since the start', async () => {
    const ann = person();
    await act(ann);
    const ref = seen().find(({ subject }) => subject === ann)?.subjectRef;
    // With the next batch the key no longer waits in the audit file, from which a start would take it.
    await act(person());
    await reopen();
    await erase(ann);
    const [last] = seen();
    expect([last?.type, last?.subjectRef, last?.subject]).toEqual(['subject.erased', ref, '']);
  });

  it('is another one, under another pseudonym, when the same person comes back', async () => {
    const ann = person();
    await act(ann);
    const before = engine.keys.find(REALM, ann);
    await erase(ann);
    expect(engine.keys.find(REALM, ann)).toBeUndefined();
    await act(ann);
    const own = engine.audit.query({ realm: REALM, subject: ann }, 10);
    expect(own).toHaveLength(1);
    expect(own[0]?.subjectRef).not.toBe(before?.ref);
    expect(Buffer.from(engine.keys.find(REALM, ann)?.key ?? [])).not.toEqual(Buffer.from(before?.key ?? []));
  });

  it('is still there when the unit fails', async () => {
    const ann = person();
    await act(ann);
    const failing = erase(ann, () => {
      throw new RangeError('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(engine.audit.query({ realm: REALM, subject: ann }, 10)).toHaveLength(1);
  });

  it('is still there when the state cannot be committed, and nothing was erased', async () => {
    const ann = person();
    await act(ann);
    engine.trouble.stateCommit = true;
    await expect(erase(ann)).rejects.toMatchObject({ kind: 'unavailable' });
    engine.trouble.stateCommit = false;
    await act(person());
    expect(engine.audit.query({ realm: REALM, subject: ann }, 10).map(({ type }) => type)).toContain('session.created');
    await erase(ann);
    expect(engine.audit.query({ realm: REALM, subject: ann }, 10)).toEqual([]);
  });

  it('does not come back from the audit file, where it waits until the state is known to have it', async () => {
    const ann = person();
    await act(ann);
    expect(engine.audit.stashedKeys().map(({ subject }) => subject)).toContain(ann);
    await erase(ann);
    expect(engine.audit.stashedKeys().map(({ subject }) => subject)).not.toContain(ann);
    await reopen();
    expect(engine.keys.find(REALM, ann)).toBeUndefined();
    expect(seen().filter(({ subject }) => subject === ann)).toEqual([]);
  });

  it('does not come back from the audit file either when it was made and destroyed in one batch', async () => {
    const [ann, bob] = [person(), person()];
    await Promise.all([act(ann), erase(ann), erase(bob)]);
    expect(engine.commits.audit).toBe(1);
    expect(engine.audit.stashedKeys()).toEqual([]);
    await reopen();
    expect(engine.transaction.all('SELECT subject FROM subjects')).toEqual([]);
  });

  it('does not come back from an older audit file that is put in place', async () => {
    const ann = person();
    await act(ann);
    const key = engine.keys.find(REALM, ann);
    if (!key) throw new Error('no key');
    await erase(ann);
    engine.keys.restore(key);
    engine.transaction.commit();
    expect(engine.keys.find(REALM, ann)).toBeUndefined();
  });

  it('is made and destroyed at once for somebody who is not known, and leaves no name behind', async () => {
    const ann = person();
    await erase(ann);
    expect(engine.keys.find(REALM, ann)).toBeUndefined();
    expect(engine.transaction.all('SELECT 1 FROM subjects WHERE subject = $1', ann)).toEqual([]);
    expect(bytesOnDisk().includes(ann)).toBe(false);
  });

  it('leaves nothing of the person in the bytes of the files, among those of 300 others', async () => {
    const ann = `ann-${person()}`;
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(Array.from({ length: 100 }, () => act(person())));
      await act(ann);
    }
    await engine.executor.unit((tx) => tx.run(`INSERT INTO attempts VALUES ($1, $2, 1, 1, 0, 0)`, REALM, ann));
    const sealed = engine.transaction.all('SELECT sealed_key FROM subjects WHERE subject = $1', ann)[0]?.['sealed_key'];
    if (!(sealed instanceof Uint8Array)) throw new Error('no key');
    expect(bytesOnDisk().includes(ann)).toBe(true);
    expect(bytesOnDisk().includes(sealed)).toBe(true);
    await erase(ann, (tx) => tx.run('DELETE FROM attempts WHERE subject = $1', ann));
    expect(bytesOnDisk().includes(ann)).toBe(false);
    expect(bytesOnDisk().includes(sealed)).toBe(false);
    await reopen();
    expect(bytesOnDisk().includes(ann)).toBe(false);
  });
});
