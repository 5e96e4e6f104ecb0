import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { newDirectory, openTestStorage } from '../../support/local-stores.ts';
import { createOf, person, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

it('says after a kill between the two commits which events have no effect, and goes on', async () => {
  using directory = newDirectory();
  const [first, second] = [person(), person()];
  const script = fileURLToPath(new URL('../../support/crashing-process.ts', import.meta.url));
  const child = spawnSync(process.execPath, [script, directory.path, first, second], {
    encoding: 'utf8',
    timeout: 40_000,
    killSignal: 'SIGABRT',
  });
  expect([child.signal, child.stderr]).toEqual(['SIGKILL', '']);

  const restarted = await openTestStorage(directory.path);
  const sessionsOf = (subject: string) =>
    restarted.sessions.list({ realm: REALM, subject, includeEnded: true, limit: 10, now: T0 });
  expect(await sessionsOf(first)).toHaveLength(1);
  expect(await sessionsOf(second)).toEqual([]);
  // The person was new in the lost commit: their key came back, or the event could not be read by subject.
  const [created] = await restarted.audit.query({ realm: REALM, subject: second }, 10);
  expect(created).toMatchObject({ type: 'session.created', subject: second });
  const unconfirmed = await restarted.audit.query({ types: ['audit.unconfirmed'] }, 10);
  expect(unconfirmed).toHaveLength(1);
  expect(unconfirmed[0]?.facts).toEqual([
    { key: 'count', value: '1' },
    { key: 'event_ids_01', value: created?.id },
    { key: 'first_position', value: String(created?.position) },
    { key: 'last_position', value: String(created?.position) },
  ]);
  expect(await restarted.audit.verify('')).toMatchObject({ intact: true });
  expect((await restarted.sessions.create(createOf(sessionOf({ subject: second })))).outcome).toBe('created');
  await restarted[Symbol.asyncDispose]();

  const again = await openTestStorage(directory.path);
  expect(await again.audit.query({ types: ['audit.unconfirmed'] }, 10)).toHaveLength(1);
  await again[Symbol.asyncDispose]();
});
