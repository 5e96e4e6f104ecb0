import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { LocalStorage, LocalStorageOptions } from '#src/adapters/local/client.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { FRESH_BUDGET } from '#src/domain/failure-budget.ts';
import type { EventTally } from '#src/ports/audit.ts';
import { newDirectory, openTestStorage } from '../../support/local-stores.ts';
import { SeededRandom } from '../../support/random.ts';
import { took } from '../../support/running-time.ts';
import {
  atOnce,
  challengeOf,
  claimOf,
  createOf,
  eventOf,
  LIMITS,
  person,
  REALM,
  sessionOf,
  T0,
} from '../../support/store-samples.ts';

const ODD = new URL('../../support/odd-worker.ts', import.meta.url);
const STORE_DOWN = { kind: 'unavailable', reason: 'STORE_UNAVAILABLE' };

let directory: ReturnType<typeof newDirectory>;
const opened: LocalStorage[] = [];
beforeEach(() => {
  directory = newDirectory();
});
afterEach(async () => {
  for (const storage of opened.splice(0)) await storage[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});
const open = async (options: Partial<LocalStorageOptions> = {}) => {
  const storage = await openTestStorage(options.directory ?? directory.path, options);
  opened.push(storage);
  return storage;
};
const odd = (behaviour: string, options: Partial<LocalStorageOptions> = {}) =>
  open({ directory: behaviour, workerUrl: ODD, timeoutMs: 150, ...options });
const read = (storage: LocalStorage) => storage.attempts.read(REALM, 'anybody');

it('makes the directory and its files for this user alone', async () => {
  await open();
  expect(statSync(directory.path).mode & 0o777).toBe(0o700);
  for (const file of ['state.db', 'state.db-wal', 'lock.db', 'lock.json']) {
    expect([file, statSync(join(directory.path, file)).mode & 0o777]).toEqual([file, 0o600]);
  }
});

it('refuses a second process on the same directory and names the first', async () => {
  const storage = await open();
  await expect(open()).rejects.toMatchObject({
    ...STORE_DOWN,
    message: expect.stringMatching(
      new RegExp(`in use by another sidecar \\(process ${process.pid} on .+, started 20.+Z\\); stop that one`),
    ),
  });
  expect(await read(storage)).toEqual(FRESH_BUDGET);
});

it('refuses another key ring before it does harm', async () => {
  const storage = await open();
  await storage[Symbol.asyncDispose]();
  const keyRing = createKeyRing(new SeededRandom('another ring'));
  await expect(open({ keyRing })).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('sealed under another key ring'),
  });
  expect(await read(await open())).toEqual(FRESH_BUDGET);
});

it('says what is wrong with a directory that cannot be made', async () => {
  writeFileSync(directory.path, 'a file');
  await expect(open({ directory: join(directory.path, 'data') })).rejects.toMatchObject({
    ...STORE_DOWN,
    message: expect.stringMatching(/data directory .*data cannot be used: ENOTDIR/),
  });
});

it('carries faults across the thread as they are', async () => {
  const storage = await open();
  const challenge = challengeOf();
  const command = { realm: REALM, challengeId: challenge.id, to: 'APPROVED' as const, now: T0 };
  await expect(storage.challenges.advance(command)).rejects.toMatchObject({
    name: 'Fault',
    kind: 'internal',
    reason: 'INTERNAL',
  });
});

it('makes a defect in the worker an opaque fault, and goes on', async () => {
  const storage = await open();
  await storage.challenges.open({ challenge: challengeOf({ id: 'chl_same' }), maxOpen: 5, events: [] });
  const twice = storage.challenges.open({ challenge: challengeOf({ id: 'chl_same' }), maxOpen: 5, events: [] });
  await expect(twice).rejects.toMatchObject({ kind: 'internal', reason: 'INTERNAL' });
  expect(await storage.challenges.read(REALM, 'chl_same')).toBeDefined();
});

it('stores bytes that share a buffer with others', async () => {
  const storage = await open();
  const shared = Buffer.from('the neighbours of a seed stay where they are');
  const request = claimOf({ seed: shared.subarray(4, 8) });
  await storage.challenges.open({ challenge: challengeOf(), maxOpen: 5, request, events: [] });
  const repeat = await storage.challenges.open({ challenge: challengeOf(), maxOpen: 5, request, events: [] });
  expect(repeat).toEqual({ outcome: 'repeat', seed: Uint8Array.from(shared.subarray(4, 8)) });
});

it('tells listeners of every durable append until they unsubscribe', async () => {
  const storage = await open();
  let heard = 0;
  const stop = storage.audit.onAppend(() => {
    heard += 1;
  });
  const before = await storage.audit.head();
  await storage.audit.append([eventOf('caller.refused'), eventOf('limit.hit')]);
  expect(await storage.audit.head()).toBe(before + 2);
  expect(heard).toBe(1);
  await storage.sessions.create(createOf(sessionOf()));
  await read(storage);
  expect(heard).toBe(2);
  stop();
  await storage.audit.append([eventOf('caller.refused')]);
  await read(storage);
  expect(heard).toBe(2);
});

it('tells what became durable by type and outcome, evictions that did not happen not among it', async () => {
  const storage = await open();
  const heard: EventTally[] = [];
  storage.audit.onAppend((written) => heard.push(...written));
  await storage.audit.append([eventOf('caller.refused'), eventOf('caller.refused'), eventOf('limit.hit')]);
  await storage.sessions.create(createOf(sessionOf()));
  await read(storage);
  expect(heard).toEqual([
    { type: 'caller.refused', outcome: 'SUCCESS', count: 2 },
    { type: 'limit.hit', outcome: 'SUCCESS', count: 1 },
    { type: 'session.created', outcome: 'SUCCESS', count: 1 },
  ]);
});

it('reads and checks the trail beside the writing', async () => {
  const storage = await open();
  const appends = atOnce(30, () => storage.audit.append([eventOf('caller.refused', { subject: person() })]));
  expect(await storage.audit.verify('')).toMatchObject({ intact: true });
  await appends;
  const { chainId, durableSequence } = await storage.audit.status();
  const page = await storage.audit.exportPage({ chainId, from: 1, to: durableSequence }, '');
  expect(page.items.some(({ kind }) => kind === 'row')).toBe(true);
  expect(await storage.audit.after({ types: ['caller.refused'] }, 0, 100)).toHaveLength(30);
});

it('refuses calls over the bound at once', async () => {
  const storage = await odd('silent', { maxPending: 3 });
  const calls = await Promise.allSettled(Array.from({ length: 5 }, () => read(storage)));
  const messages = calls.map((call) => call.status === 'rejected' && call.reason.message);
  expect(messages.filter((message) => message === 'too many calls are waiting for the local store')).toHaveLength(2);
  // Those that timed out are still in the worker, so they still count.
  await expect(read(storage)).rejects.toMatchObject({ ...STORE_DOWN, details: { retryAfterMs: 1_000 } });
});

it('gives up on a call after its time', async () => {
  const storage = await odd('silent');
  const { ms, elapsedMs } = await took(() =>
    expect(read(storage)).rejects.toMatchObject({ message: expect.stringContaining('did not answer in time') }),
  );
  expect(elapsedMs).toBeGreaterThan(140);
  expect(ms).toBeLessThan(1_000);
});

it('takes no effect for a call that nobody waits for any more', async () => {
  const workerUrl = new URL('../../support/slow-worker.ts', import.meta.url);
  const storage = await open({ workerUrl, timeoutMs: 200 });
  const beside = (name: string) => join(directory.path, '..', name);
  const hung = expect(storage.audit.append([eventOf('caller.refused')])).rejects.toMatchObject(STORE_DOWN);
  // What comes before that shares its commit.
  await vi.waitUntil(() => existsSync(beside('hanging')), { timeout: 10_000, interval: 5 });
  const subject = person();
  await expect(storage.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 })).rejects.toMatchObject(
    STORE_DOWN,
  );
  await hung;
  writeFileSync(beside('well'), '');
  // In the order of the calls: the answer to this one comes behind all that became of the other.
  const after = await vi.waitFor(() => storage.attempts.read(REALM, subject), { timeout: 10_000 });
  expect(after).toEqual(FRESH_BUDGET);
});

it('fails every call once the worker is dead, and says so once', async () => {
  const fatal: string[] = [];
  const storage = await odd('crashing', { timeoutMs: 5_000, onFatal: (error) => fatal.push(error.message) });
  const calls = await Promise.allSettled([read(storage), read(storage)]);
  expect(calls).toMatchObject([
    { status: 'rejected', reason: STORE_DOWN },
    { status: 'rejected', reason: STORE_DOWN },
  ]);
  await expect(read(storage)).rejects.toMatchObject(STORE_DOWN);
  await storage[Symbol.asyncDispose]();
  expect(fatal).toEqual(['out of luck']);
});

it('gives up on a worker that does not begin to serve', async () => {
  await expect(odd('mute', { startTimeoutMs: 300 })).rejects.toMatchObject({
    ...STORE_DOWN,
    message: expect.stringContaining('did not start in time'),
  });
});

it('rejects when the worker dies before it serves', async () => {
  await expect(odd('stillborn', { onFatal: () => {} })).rejects.toMatchObject(STORE_DOWN);
});

it('finishes what was called before it closes, and refuses what comes after', async () => {
  const storage = await open();
  const subject = person();
  const spends = atOnce(20, () => storage.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 }));
  await storage[Symbol.asyncDispose]();
  expect((await spends).filter(({ outcome }) => outcome === 'spent')).toHaveLength(5);
  await expect(read(storage)).rejects.toMatchObject(STORE_DOWN);
  const again = await open();
  expect(await again.attempts.read(REALM, subject)).toMatchObject({ recent: 5 });
});

it('ends by force a worker that does not close', async () => {
  const storage = await odd('deaf');
  const { ms } = await took(() => storage[Symbol.asyncDispose]());
  expect(ms).toBeLessThan(2_000);
});

it('stops granting at the bound of the trail, while refusals to grant still cost an attempt', async () => {
  const storage = await open({ maxAuditBytes: 200_000 });
  const create = () => storage.sessions.create(createOf(sessionOf()));
  let granted = 0;
  const full = await (async () => {
    for (; granted < 2_000; granted += 50) await atOnce(50, create);
    return undefined;
  })().catch((error: unknown) => error);
  expect(full).toMatchObject({ kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' });
  expect(granted).toBeGreaterThan(0);
  const spend = { realm: REALM, subject: person(), limits: LIMITS, now: T0 };
  expect((await storage.attempts.spend(spend)).outcome).toBe('spent');
  expect((await storage.audit.status()).bytes).toBeLessThan(250_000);
});
