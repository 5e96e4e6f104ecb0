import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import type { LocalTrail, LocalTrailOptions } from '#src/adapters/local/trail-client.ts';
import { systemClock } from '#src/adapters/system.ts';
import { newDirectory, openTestStorage } from '../../support/local-stores.ts';
import { namedUnconfirmed, openTestTrail, presentEvent } from '../../support/local-trail.ts';
import { flushAll, MemoryCentral } from '../../support/memory-central.ts';
import { createOf, REALM, sessionOf } from '../../support/store-samples.ts';

const AUDIT_DOWN = { kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' };

let directory: ReturnType<typeof newDirectory>;
let central: MemoryCentral;
const opened: LocalTrail[] = [];
beforeEach(() => {
  directory = newDirectory();
  central = new MemoryCentral();
});
afterEach(async () => {
  for (const trail of opened.splice(0)) await trail[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});
const open = async (options: Partial<LocalTrailOptions> = {}) => {
  const trail = await openTestTrail(directory.path, { subjectKeys: central, ...options });
  opened.push(trail);
  return trail;
};
const reopen = async (trail: LocalTrail, options: Partial<LocalTrailOptions> = {}) => {
  await trail[Symbol.asyncDispose]();
  return await open(options);
};
const created = (subject = 'kim') => presentEvent('session.created', { subject, ipAddress: '192.0.2.1' });
const settled = async (probe: () => Promise<boolean>) => {
  const deadline = Date.now() + 20_000;
  while (!(await probe())) {
    if (Date.now() > deadline) throw new Error('did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

describe('events whose effect is elsewhere', () => {
  it('are on the disk when they are taken, and are not doubted once they are confirmed', async () => {
    const trail = await open();
    const event = created();
    const taken = await trail.commit.take([event]);
    expect(await trail.audit.query({ realm: REALM, subject: 'kim' }, 10)).toMatchObject([
      { id: event.id, subject: 'kim', ipAddress: '192.0.2.1' },
    ]);
    taken.confirm();
    const again = await reopen(trail);
    expect(await namedUnconfirmed(again)).toEqual([]);
    expect(await again.audit.verify('')).toMatchObject({ intact: true });
  });

  it('are named by the next start where nobody said how their effect ended, and only those', async () => {
    const trail = await open();
    const [first, open1, last] = [created('a'), created('b'), created('c')];
    (await trail.commit.take([first])).confirm();
    await trail.commit.take([open1, presentEvent('limit.hit')]);
    (await trail.commit.take([last])).confirm();
    const again = await reopen(trail);
    expect(await namedUnconfirmed(again)).toEqual([open1.id]);
    const third = await reopen(again);
    expect(await namedUnconfirmed(third)).toEqual([open1.id]);
  });

  it('are named at once when they are revoked, many in one event, and not again', async () => {
    const trail = await open();
    const events = Array.from({ length: 300 }, () => created());
    const taken = await Promise.all(events.map((event) => trail.commit.take([event])));
    await Promise.all(taken.map((one) => one.revoke()));
    expect([...(await namedUnconfirmed(trail))].sort()).toEqual(events.map(({ id }) => id).sort());
    expect((await trail.audit.query({ types: ['audit.unconfirmed'] }, 100)).length).toBeLessThan(10);
    for (const one of taken) one.confirm();
    expect(await namedUnconfirmed(await reopen(trail))).toHaveLength(300);
  });

  it('are named when nobody says for a long time how their effect ended', async () => {
    const trail = await open({ maxOpenMs: 100 });
    const event = created();
    const taken = await trail.commit.take([event]);
    await settled(async () => (await namedUnconfirmed(trail)).length > 0);
    expect(await namedUnconfirmed(trail)).toEqual([event.id]);
    await taken.revoke();
    expect(await namedUnconfirmed(trail)).toEqual([event.id]);
  });

  it('need no word where they stand for themselves', async () => {
    const trail = await open();
    await trail.audit.append([presentEvent('factor.removed', { subject: 'kim' })]);
    await settled(async () => (await trail.source.backlog(10)).rows.length > 0);
    expect(await namedUnconfirmed(await reopen(trail))).toEqual([]);
  });

  it('are refused beyond the bound of those that are without a word', async () => {
    const trail = await open({ maxPending: 3 });
    const taken = [];
    for (let index = 0; index < 3; index += 1) taken.push(await trail.commit.take([created()]));
    await expect(trail.commit.take([created()])).rejects.toMatchObject(AUDIT_DOWN);
    taken[0]?.confirm();
    await settled(async () => {
      const next = await trail.commit.take([created()]).catch(() => undefined);
      return next !== undefined;
    });
  });
});

describe('keys of persons', () => {
  it('are asked for once, however many events come at once', async () => {
    const trail = await open();
    const taken = await Promise.all(Array.from({ length: 50 }, () => trail.commit.take([created(), created('lee')])));
    for (const one of taken) one.confirm();
    await (await trail.commit.take([created()])).revoke();
    expect(central.asked.toSorted()).toEqual(['kim', 'lee']);
    expect((await trail.source.backlog(1_000)).subjectKeys).toEqual([]);
  });

  for (const condition of ['down', 'frozen'] as const)
    it(`are made here while central storage is ${condition}, and are brought there with the events`, async () => {
      const trail = await open({ keyTimeoutMs: 50 });
      central.condition = condition;
      await trail.audit.append([created(), created('lee')]);
      await trail.audit.append([created()]);
      await trail.audit.append([presentEvent('session.rejected', { subject: '', ipAddress: '203.0.113.9' })]);
      const again = await reopen(trail, { keyTimeoutMs: 50 });
      await again.audit.append([created()]);
      expect(await again.audit.query({ realm: REALM, subject: 'kim' }, 10)).toHaveLength(3);
      central.condition = 'up';
      const { subjectKeys } = await again.source.backlog(1_000);
      expect(subjectKeys.map(({ subject }) => subject).toSorted()).toEqual(['', 'kim', 'lee']);
      await flushAll(again.source, central, 2);
      expect([...central.subjectKeys.values()].map(({ subject }) => subject).toSorted()).toEqual(['', 'kim', 'lee']);
      await again.audit.append([created()]);
      expect((await again.source.backlog(1_000)).subjectKeys).toEqual([]);
      const found = await again.audit.query({ types: ['session.*'] }, 10);
      expect(found.map(({ ipAddress }) => ipAddress)).toContain('192.0.2.1');
    });

  it('that central storage has are read from there after a restart', async () => {
    const trail = await open();
    await trail.audit.append([created(), presentEvent('session.created', { subject: 'lee' })]);
    const again = await reopen(trail);
    expect(await again.audit.query({ realm: REALM, subject: 'kim' }, 10)).toMatchObject([{ subject: 'kim' }]);
    const all = await again.audit.query({ types: ['session.created'] }, 10);
    expect(all.map(({ subject }) => subject)).toEqual(['lee', 'kim']);
  });

  it('of a person that has several are all found', async () => {
    const trail = await open({ keyTimeoutMs: 50 });
    await trail.audit.append([created('lee')]);
    const key = await central.of(REALM, 'kim');
    central.condition = 'down';
    await trail.audit.append([created()]);
    central.condition = 'up';
    const other = await reopen(trail);
    await flushAll(other.source, central);
    expect(await central.refsOf(REALM, 'kim')).toHaveLength(2);
    expect(await central.refsOf(REALM, 'kim')).toContain(key.ref);
    const third = await reopen(other);
    await third.audit.append([created()]);
    expect(await third.audit.query({ realm: REALM, subject: 'kim' }, 10)).toHaveLength(2);
  });
});

describe('the flush', () => {
  it('takes everything, deletes it here and leaves a file that verifies, live and offline', async () => {
    const trail = await open({ checkpointMs: 50 });
    const before = (await trail.audit.status()).durableSequence;
    for (let batch = 0; batch < 20; batch += 1)
      await trail.audit.append(Array.from({ length: 100 }, () => created(`user-${batch}`)));
    const full = await trail.audit.status();
    expect(full).toMatchObject({ flushedSequence: 0, anchoredSequence: 0 });
    expect(full.waiting).toMatchObject({ events: before + 2_000 });
    expect(full.waiting?.bytes).toBeGreaterThan(2_000 * 300);
    expect(await flushAll(trail.source, central, 300)).toBe(before + 2_000);
    // The head is signed a little later, that signature is flushed as well, and the last rows leave after that.
    await settled(async () => {
      await flushAll(trail.source, central);
      const { bytes, anchoredSequence, durableSequence } = await trail.audit.status();
      const left = await trail.audit.query({}, 1_000);
      return bytes < 200_000 && anchoredSequence === durableSequence && left.length < 300;
    });
    const status = await trail.audit.status();
    expect(status.flushedSequence).toBe(status.durableSequence);
    expect(status.waiting).toMatchObject({ events: 0, bytes: 0, ageMs: 0 });
    expect(await trail.audit.verify('')).toMatchObject({ intact: true });
    const verdict = await trail.audit.verify('');
    expect(verdict.rows).toBeLessThan(300);
    expect(verifyFile(join(directory.path, 'audit.db'))).toMatchObject({ verdict: { intact: true }, anchored: true });
    expect(central.verify()).toMatchObject({ intact: true, rows: before + 2_000 });

    await trail.audit.append([created('later')]);
    const again = await reopen(trail);
    expect(await again.audit.verify('')).toMatchObject({ intact: true });
    expect(await flushAll(again.source, central)).toBeGreaterThan(0);
    expect(central.verify()).toMatchObject({ intact: true, rows: (await again.audit.status()).durableSequence });
    expect(central.chains.size).toBe(1);
  });

  it('that is told of twice, or again after a crash, does no harm', async () => {
    const trail = await open();
    await trail.audit.append([created(), created(), created()]);
    const backlog = await trail.source.backlog(2);
    await central.store(backlog);
    await trail.source.flushed(backlog);
    await trail.source.flushed(backlog);
    const rest = await trail.source.backlog(100);
    expect(rest.rows[0]?.sequence).toBe(3);
    await central.store(rest);
    await central.store(rest);
    await trail.source.flushed(rest);
    await trail.source.flushed(backlog);
    expect((await trail.audit.status()).waiting?.events).toBe(0);
    expect(central.verify()).toMatchObject({ intact: true });
  });

  it('is read batch by batch, each row once, and says with each what waits from there on', async () => {
    const trail = await open();
    await flushAll(trail.source, central);
    const { durableSequence: before } = await trail.audit.status();
    const at = systemClock.now();
    const events = Array.from({ length: 7 }, (_, index) => ({ ...created(), at: at + index }));
    await trail.audit.append(events);
    const read: (readonly number[])[] = [];
    for (;;) {
      const { rows, checkpoints, waiting, ...rest } = await trail.source.backlog(2);
      if (rows.length === 0) break;
      read.push(rows.map(({ sequence }) => sequence - before));
      const gone = (rows[0]?.sequence ?? 0) - before - 1;
      expect(waiting).toMatchObject({ events: 7 - gone, oldestAt: at + gone });
      await central.store({ rows, checkpoints, waiting, ...rest });
      await trail.source.flushed({ rows, checkpoints, ...rest });
    }
    expect(read).toEqual([[1, 2], [3, 4], [5, 6], [7]]);
    expect(central.verify()).toMatchObject({ intact: true });
  });

  it('is refused for rows that are not those of the file', async () => {
    const trail = await open();
    await trail.audit.append([created()]);
    const backlog = await trail.source.backlog(100);
    const rows = backlog.rows.map((row) => ({ ...row, hash: new Uint8Array(32) }));
    await expect(trail.source.flushed({ ...backlog, rows })).rejects.toMatchObject({ reason: 'INTEGRITY' });
    expect((await trail.audit.status()).flushedSequence).toBe(0);
  });

  it('keeps the rows of events without a word, so that a start can name them', async () => {
    const trail = await open({ checkpointMs: 50 });
    const event = created();
    const taken = await trail.commit.take([event]);
    for (let batch = 0; batch < 5; batch += 1) await trail.audit.append(Array.from({ length: 200 }, () => created()));
    await flushAll(trail.source, central);
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect((await trail.audit.query({ types: ['session.created'] }, 2_000)).some(({ id }) => id === event.id)).toBe(
      true,
    );
    taken.confirm();
    await settled(async () => (await trail.audit.query({}, 2_000)).length < 300);
  });
});

describe('a strict trail', () => {
  const flushing = (trail: LocalTrail) => {
    const timer = setInterval(() => void flushAll(trail.source, central).catch(() => {}), 20);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  };

  it('takes events when central storage has them', async () => {
    const trail = await open({ mode: 'strict' });
    using _ = flushing(trail);
    const event = created();
    (await trail.commit.take([event])).confirm();
    const has = [...central.chains.values()].some(({ rows }) =>
      [...rows.values()].some(({ record }) => Buffer.from(record).includes(event.id)),
    );
    expect(has).toBe(true);
    await trail.audit.append([created()]);
    expect((await trail.audit.status()).waiting?.events).toBe(0);
  });

  it('does not have to wait for what grants nothing, so nobody writes it a second time', async () => {
    const trail = await open({ mode: 'strict', flushTimeoutMs: 150, keyTimeoutMs: 50 });
    central.condition = 'down';
    await trail.audit.append([presentEvent('outage.entered', { outcome: 'FAILED' })]);
    expect((await trail.audit.status()).waiting?.events).toBeGreaterThan(0);
  });

  it('refuses what central storage does not take in time, says so in the trail, and recovers alone', async () => {
    const trail = await open({ mode: 'strict', flushTimeoutMs: 150, keyTimeoutMs: 50 });
    using _ = flushing(trail);
    central.condition = 'down';
    const events = [created(), created()];
    const refused = await Promise.allSettled([
      trail.commit.take(events.slice(0, 1)),
      trail.audit.append(events.slice(1)),
    ]);
    for (const one of refused)
      expect(one).toMatchObject({ status: 'rejected', reason: { ...AUDIT_DOWN, details: { retryAfterMs: 1_000 } } });
    await settled(async () => (await namedUnconfirmed(trail)).length === 2);
    expect([...(await namedUnconfirmed(trail))].sort()).toEqual(events.map(({ id }) => id).sort());
    central.condition = 'up';
    // A machine that is held up may need longer than the time-out, which is short here; callers try again.
    await settled(async () => {
      const taken = await trail.commit.take([created()]).catch(() => undefined);
      taken?.confirm();
      return taken !== undefined;
    });
    expect(central.verify()).toMatchObject({ intact: true });
  });
});

describe('the bounds', () => {
  it('refuse grants while the oldest event has waited too long, take refusals, and recover alone', async () => {
    const trail = await open({ maxAgeMs: 1_500 });
    await trail.audit.append([created()]);
    await settled(async () => !(await trail.audit.status()).writable);
    await expect(trail.commit.take([created()])).rejects.toMatchObject(AUDIT_DOWN);
    await trail.audit.append([presentEvent('challenge.refused', { outcome: 'REFUSED' })]);
    expect((await trail.audit.status()).waiting).toMatchObject({ maxAgeMs: 1_500 });
    await flushAll(trail.source, central);
    expect(await trail.audit.status()).toMatchObject({ writable: true, waiting: { events: 0, ageMs: 0 } });
    (await trail.commit.take([created()])).confirm();
  });

  it('refuse everything at the size, and room that the flush makes is used again', async () => {
    const trail = await open({ maxAuditBytes: 1 << 20, checkpointMs: 50 });
    const fill = async () => {
      for (;;) await trail.audit.append(Array.from({ length: 50 }, () => created()));
    };
    await expect(fill()).rejects.toMatchObject(AUDIT_DOWN);
    expect((await trail.audit.status()).bytes).toBeLessThanOrEqual(1 << 20);
    const { durableSequence } = await trail.audit.status();
    await flushAll(trail.source, central);
    await settled(async () => (await trail.audit.status()).bytes < 1 << 19);
    await expect(fill()).rejects.toMatchObject(AUDIT_DOWN);
    expect((await trail.audit.status()).durableSequence).toBeGreaterThan(durableSequence * 1.5);
    expect(await trail.audit.verify('')).toMatchObject({ intact: true });
    await flushAll(trail.source, central);
    expect(central.verify()).toMatchObject({ intact: true });
  });
});

describe('a volume that is not what central storage knows', () => {
  const agree = async (trail: LocalTrail) => {
    const { chainId } = await trail.localHead();
    return await trail.agree({ chainId, ...(await central.head(chainId)) });
  };

  it('because an older copy was put back is set aside, and a linked chain goes on', async () => {
    const trail = await open();
    await trail.audit.append([created('a')]);
    await flushAll(trail.source, central);
    await trail[Symbol.asyncDispose]();
    const copy = join(directory.path, '..', 'copy');
    cpSync(directory.path, copy, { recursive: true });
    const newer = await open();
    expect(await agree(newer)).toBe('agrees');
    await newer.audit.append([created('b'), created('c')]);
    await flushAll(newer.source, central);
    const before = await newer.localHead();
    await newer[Symbol.asyncDispose]();

    const old = await open({ directory: copy });
    expect(await agree(old)).toBe('rolled-back');
    expect((await old.localHead()).chainId).not.toBe(before.chainId);
    expect(await old.audit.query({ types: ['audit.chain_damaged'] }, 10)).toMatchObject([{ reason: 'TRUNCATED' }]);
    expect(readdirSync(copy).some((name) => name.startsWith('audit.db.damaged-'))).toBe(true);
    (await old.commit.take([created('d')])).confirm();
    await flushAll(old.source, central);
    expect(central.chains.size).toBe(2);
    expect(central.verify()).toMatchObject({ intact: true });
    expect([...central.chains.values()][1]?.header).toMatchObject({
      parentChainId: before.chainId,
      parentHeadHash: before.hash,
    });
    expect(await agree(old)).toBe('agrees');
  });

  it('refuses strict events that were set aside with their file, although later ones are flushed', async () => {
    const trail = await open({ mode: 'strict', flushTimeoutMs: 5_000 });
    const lost = trail.commit.take([created()]).catch((error: unknown) => error);
    await settled(async () => (await trail.audit.query({ types: ['session.created'] }, 10)).length === 1);
    const head = await trail.localHead();
    expect(await trail.agree({ ...head, sequence: head.sequence + 5, hash: new Uint8Array(32) })).toBe('rolled-back');
    await flushAll(trail.source, central);
    expect(await lost).toMatchObject(AUDIT_DOWN);
  });
});

it('goes on with the chain and the keys of a directory that held the state as well', async () => {
  const embedded = await openTestStorage(directory.path);
  await embedded.sessions.create(createOf(sessionOf({ subject: 'from before' })));
  await embedded.audit.append([presentEvent('session.rejected', { ipAddress: '203.0.113.9' })]);
  const { chainId } = await embedded.audit.status();
  await embedded[Symbol.asyncDispose]();
  const trail = await open();
  expect((await trail.localHead()).chainId).toBe(chainId);
  expect(await namedUnconfirmed(trail)).toEqual([]);
  expect(await trail.audit.query({ realm: REALM, subject: 'from before' }, 10)).toHaveLength(1);
  await flushAll(trail.source, central);
  expect([...central.subjectKeys.values()].map(({ subject }) => subject).toSorted()).toEqual(['', 'from before']);
  expect(central.verify()).toMatchObject({ intact: true });
});
