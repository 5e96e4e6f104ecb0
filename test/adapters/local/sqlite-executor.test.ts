import { afterEach, beforeEach, expect, it } from 'vitest';
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

const put = (tx: Tx, name: string) => tx.run(`INSERT INTO marks (name, value) VALUES ($1, 'x')`, name);
const names = async () => {
  const rows = await engine.executor.unit((tx) =>
    tx.all(`SELECT name FROM marks WHERE name LIKE 'test%' ORDER BY name`),
  );
  return rows.map((row) => row['name']);
};
/** A grant: an effect with its event. */
const grant = (name: string, subject = person()) =>
  engine.executor.unit(async (tx) => {
    await put(tx, name);
    tx.record(eventOf('session.created', { subject }));
    return name;
  });
const write = (name: string) => engine.executor.unit((tx) => put(tx, name));
const read = () => engine.executor.unit((tx) => tx.all('SELECT 1 AS one'));
const types = () => engine.audit.query({}, 100).map(({ type }) => type);
const AUDIT_DOWN = { status: 'rejected', reason: { kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' } };
const STORE_DOWN = { status: 'rejected', reason: { kind: 'unavailable', reason: 'STORE_UNAVAILABLE' } };
const DONE = { status: 'fulfilled' };

it('commits units that arrive together at once, the trail first, and resolves them after both', async () => {
  const granted = Array.from({ length: 20 }, (_, index) => grant(`test${String(index).padStart(2, '0')}`));
  void granted[0]?.then(() => engine.order.push('resolved'));
  await Promise.all(granted);
  expect(engine.commits).toEqual({ audit: 1, state: 1 });
  await engine.executor.drained();
  expect(engine.order.slice(-3)).toEqual(['audit committed', 'appended', 'resolved']);
  expect(await names()).toHaveLength(20);
});

it('runs no transaction for reads', async () => {
  await Promise.all([read(), read(), read()]);
  expect(engine.commits).toEqual({ audit: 0, state: 0 });
});

it('undoes a unit that throws, with its events, and nothing else', async () => {
  const failing = engine.executor.unit(async (tx) => {
    await put(tx, 'test-failing');
    tx.record(eventOf('session.ended', { subject: person() }));
    throw new RangeError('no');
  });
  const outcomes = await Promise.allSettled([grant('test-1'), failing, grant('test-2')]);
  expect(outcomes).toMatchObject([DONE, { status: 'rejected', reason: new RangeError('no') }, DONE]);
  expect(await names()).toEqual(['test-1', 'test-2']);
  expect(types().filter((type) => type.startsWith('session'))).toEqual(['session.created', 'session.created']);
});

it('turns a broken rule of the schema into an internal fault of that unit alone', async () => {
  const outcomes = await Promise.allSettled([write('test-1'), write('test-1'), write('test-2')]);
  expect(outcomes).toMatchObject([DONE, { status: 'rejected', reason: { kind: 'internal' } }, DONE]);
});

it('takes no effect when the trail cannot be committed, while what needs no event goes on', async () => {
  engine.trouble.auditCommit = true;
  const outcomes = await Promise.allSettled([grant('test-1'), write('test-2'), read(), grant('test-3')]);
  expect(outcomes).toMatchObject([AUDIT_DOWN, DONE, DONE, AUDIT_DOWN]);
  expect(await names()).toEqual(['test-2']);
  expect(types()).not.toContain('session.created');
});

it('runs again what had only seen an effect that was undone', async () => {
  engine.trouble.auditCommit = true;
  const seen = engine.executor.unit((tx) => tx.all(`SELECT name FROM marks WHERE name = 'test-1'`));
  const [granted, after] = await Promise.allSettled([grant('test-1'), seen]);
  expect(granted).toMatchObject(AUDIT_DOWN);
  expect(after).toEqual({ status: 'fulfilled', value: [] });
});

it('grants again by itself once the trail can be committed', async () => {
  engine.trouble.auditCommit = true;
  await expect(grant('test-1')).rejects.toMatchObject({ reason: 'AUDIT_UNAVAILABLE' });
  engine.trouble.auditCommit = false;
  expect(await grant('test-2')).toBe('test-2');
  expect(types()).not.toContain('audit.unconfirmed');
});

it('refuses only the unit whose events the trail does not take', async () => {
  engine.trouble.auditStage = true;
  const outcomes = await Promise.allSettled([grant('test-1'), write('test-2')]);
  expect(outcomes).toMatchObject([AUDIT_DOWN, DONE]);
  expect(await names()).toEqual(['test-2']);
});

it('names the events of a state commit that failed, and lets reads through', async () => {
  const subject = person();
  engine.trouble.stateCommit = true;
  const outcomes = await Promise.allSettled([grant('test-1', subject), read(), write('test-2')]);
  expect(outcomes).toMatchObject([STORE_DOWN, DONE, STORE_DOWN]);
  engine.trouble.stateCommit = false;
  expect(await grant('test-3')).toBe('test-3');
  expect(await names()).toEqual(['test-3']);
  const [event] = engine.audit.query({ realm: REALM, subject }, 10);
  expect(event?.subject).toBe(subject);
  const [unconfirmed, ...others] = engine.audit.query({ types: ['audit.unconfirmed'] }, 10);
  expect(others).toEqual([]);
  expect(unconfirmed?.facts).toContainEqual({ key: 'event_ids_01', value: event?.id });
});

it('takes no further event before the unconfirmed ones are named', async () => {
  engine.trouble.stateCommit = true;
  await expect(grant('test-1')).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
  engine.trouble.stateCommit = false;
  engine.trouble.auditCommit = true;
  await expect(grant('test-2')).rejects.toMatchObject({ reason: 'AUDIT_UNAVAILABLE' });
  engine.trouble.auditCommit = false;
  await grant('test-3');
  expect(types().slice(0, 3)).toEqual(['session.created', 'audit.unconfirmed', 'session.created']);
});

it('grants nothing while unconfirmed events cannot be named, although the trail takes others', async () => {
  engine.trouble.stateCommit = true;
  engine.trouble.auditNaming = true;
  await expect(grant('test-1')).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
  engine.trouble.stateCommit = false;
  const outcomes = await Promise.allSettled([grant('test-2'), write('test-3'), read()]);
  expect(outcomes).toMatchObject([AUDIT_DOWN, DONE, DONE]);
  expect(await names()).toEqual(['test-3']);
  engine.trouble.auditNaming = false;
  await grant('test-4');
  expect(types().slice(0, 3)).toEqual(['session.created', 'audit.unconfirmed', 'session.created']);
});

it('names nothing when a batch without events fails', async () => {
  engine.trouble.stateCommit = true;
  await expect(write('test-1')).rejects.toMatchObject({ reason: 'STORE_UNAVAILABLE' });
  engine.trouble.stateCommit = false;
  await grant('test-2');
  expect(types()).not.toContain('audit.unconfirmed');
});

it('fails the whole batch when SQLite gives up its transaction, leaving nothing behind', async () => {
  const breaking = engine.executor.unit(async (tx) => {
    await put(tx, 'test-2');
    await tx.run('ROLLBACK');
  });
  const outcomes = await Promise.allSettled([grant('test-1'), breaking, grant('test-3')]);
  expect(outcomes).toMatchObject([STORE_DOWN, STORE_DOWN, STORE_DOWN]);
  expect(await grant('test-4')).toBe('test-4');
  expect(await names()).toEqual(['test-4']);
  expect(types().filter((type) => type === 'session.created')).toHaveLength(1);
});

it('does not doubt events that stood alone after an orderly end, nor after a later commit', async () => {
  const alone = () => engine.executor.unit((tx) => tx.record(eventOf('challenge.denied', { subject: person() })));
  await alone();
  await engine.executor.drained();
  engine.close();
  engine = await openEngine(directory.path);
  await alone();
  await grant('test-1');
  engine.close();
  engine = await openEngine(directory.path);
  expect(types()).not.toContain('audit.unconfirmed');
});

it('keeps each unit to what came before it', async () => {
  const count = () =>
    engine.executor.unit(async (tx) => {
      const [row] = await tx.all(`SELECT COUNT(*) AS n FROM marks WHERE name LIKE 'test%'`);
      await put(tx, `test${row?.['n']}`);
      return row?.['n'];
    });
  expect(await Promise.all(Array.from({ length: 100 }, count))).toEqual(
    Array.from({ length: 100 }, (_, index) => index),
  );
});
