import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXPORT_LISTS } from '#src/domain/subject-export.ts';
import {
  APPLICATION,
  exportOf,
  HOME,
  OPERATOR,
  type PrivacyWorld,
  privacyWorld,
  settle,
} from '../../support/privacy-world.ts';
import { createOf, eventOf, person, REALM, sessionOf } from '../../support/store-samples.ts';

const uuid = '3f0d2a52-9f8c-4b29-9d9a-9d5f3f0a1b11';

const erase = (world: PrivacyWorld, subject: string, over: { reason?: string; requestId?: string } = {}) =>
  world.erasure.erase(OPERATOR, { realm: REALM, subject, reason: 'asked for', requestId: '', ...over });

const bytesOnDisk = (world: PrivacyWorld) =>
  Buffer.concat(readdirSync(world.directory).map((name) => readFileSync(join(world.directory, name))));

const eventsOf = async (world: PrivacyWorld, subject: string) =>
  await world.stores.audit.query({ realm: REALM, subject }, 1_000);

describe('an erased person', () => {
  it('is nowhere any more: not in a store, an export, an event, or the bytes of a file', async () => {
    const world = await privacyWorld();
    const [ann, bob] = [await settle(world), await settle(world)];
    const before = await eventsOf(world, ann.subject);
    const [{ subjectRef = '' } = {}] = before;
    expect(bytesOnDisk(world).includes(ann.subject)).toBe(true);

    expect(await erase(world, ann.subject)).toEqual({ factors: 4, sessions: 1, devices: 1 });

    expect(bytesOnDisk(world).includes(ann.subject)).toBe(false);
    expect(bytesOnDisk(world).includes(bob.subject)).toBe(true);
    expect(await eventsOf(world, ann.subject)).toEqual([]);
    const all = await world.stores.audit.query({}, 1_000);
    const theirs = all.filter((event) => event.subjectRef === subjectRef);
    expect(theirs.length).toBe(before.length + 2);
    for (const { subject, ipAddress, userAgent } of theirs)
      expect([subject, ipAddress, userAgent]).toEqual(['', '', '']);
    const exported = await exportOf(world, ann.subject);
    for (const list of EXPORT_LISTS.filter((one) => one !== 'events'))
      expect(JSON.parse(exported)[list], list).toEqual([]);
    for (const value of ann.own.filter((one) => one !== ann.subject)) expect(exported, value).not.toContain(value);
    expect(await exportOf(world, bob.subject)).toContain(HOME.ipAddress);
  });

  it('leaves a chain that verifies, in which the erasure is the last that was done, with who did it and why', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    await erase(world, subject, { reason: 'asked for in writing' });
    const [last, before] = await world.stores.audit.query({}, 2);
    expect(last).toMatchObject({
      type: 'subject.erased',
      subject: '',
      caller: 'grpc',
      facts: [{ key: 'note', value: 'asked for in writing' }],
    });
    expect(last?.subjectRef).not.toBe('');
    expect(before).toMatchObject({ type: 'session.ended', reason: 'ERASED', subjectRef: last?.subjectRef });
    expect(await world.stores.audit.verify('')).toMatchObject({ intact: true });
    await world.restart();
    expect(await world.stores.audit.verify('')).toMatchObject({ intact: true });
    expect(await eventsOf(world, subject)).toEqual([]);
  });

  it('is another one in the trail when they come back', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    const [{ subjectRef: old } = { subjectRef: '' }] = await eventsOf(world, subject);
    await erase(world, subject);
    await world.stores.audit.append([eventOf('session.created', { subject, ipAddress: HOME.ipAddress })]);
    const now = await eventsOf(world, subject);
    expect(now).toHaveLength(1);
    expect(now[0]?.subjectRef).not.toBe(old);
    expect(now[0]?.ipAddress).toBe(HOME.ipAddress);
  });

  it('is written out of what was still being folded, so that nothing names them afterwards', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    for (let time = 0; time < 3; time += 1)
      world.trail.refused(
        world.trail.draft('challenge.refused', APPLICATION, {
          realm: REALM,
          subject,
          outcome: 'REFUSED',
          reason: 'WRONG',
        }),
      );
    await erase(world, subject);
    world.clock.advance(120_000);
    await world.trail.drain();
    expect(await eventsOf(world, subject)).toEqual([]);
    expect(bytesOnDisk(world).includes(subject)).toBe(false);
    const refused = await world.stores.audit.query({ types: ['challenge.refused'] }, 10);
    expect(refused.map(({ count, subject: name }) => [count, name])).toEqual([
      [2, ''],
      [1, ''],
    ]);
  });
});

describe('an erasure', () => {
  it('of somebody who is not known succeeds with zeros, and leaves no name', async () => {
    const world = await privacyWorld();
    const subject = person();
    expect(await erase(world, subject)).toEqual({ factors: 0, sessions: 0, devices: 0 });
    expect(bytesOnDisk(world).includes(subject)).toBe(false);
    expect((await world.stores.audit.query({}, 1))[0]).toMatchObject({ type: 'subject.erased', subject: '' });
  });

  it('is done once for a request: a repeat gets the same answer and ends nothing that came since', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    const first = await erase(world, subject, { requestId: uuid });
    const now = world.clock.now();
    const back = sessionOf({ subject, createdAt: now, lastUsedAt: now, expiresAt: now + 60_000 });
    await world.stores.sessions.create(createOf(back));
    expect(await erase(world, subject, { requestId: uuid })).toEqual(first);
    expect(await world.stores.sessions.read(REALM, back.id)).toMatchObject({ id: back.id });
    expect(await world.stores.audit.query({ types: ['subject.erased'] }, 10)).toHaveLength(1);
  });

  it('is refused, with nothing done, for a request id that was used for another', async () => {
    const world = await privacyWorld();
    const [ann, bob] = [await settle(world), await settle(world)];
    await erase(world, ann.subject, { requestId: uuid });
    await expect(erase(world, bob.subject, { requestId: uuid })).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    const live = { realm: REALM, subject: bob.subject, includeEnded: false, limit: 10, now: world.clock.now() };
    expect(await world.stores.sessions.list(live)).toHaveLength(1);
  });

  it('that was cut off after the sessions ended is finished by the same call', async () => {
    let broken = true;
    const world = await privacyWorld({
      subjects: (real) => ({
        erase: (command) => (broken ? Promise.reject(new Error('killed')) : real.erase(command)),
      }),
    });
    const { subject } = await settle(world);
    await expect(erase(world, subject, { requestId: uuid })).rejects.toThrow('killed');
    broken = false;
    await world.restart();
    expect(await erase(world, subject, { requestId: uuid })).toMatchObject({ factors: 4, devices: 1 });
    expect(bytesOnDisk(world).includes(subject)).toBe(false);
    expect(await eventsOf(world, subject)).toEqual([]);
  });

  it('does not begin where the stores cannot be read', async () => {
    const ended: string[] = [];
    const world = await privacyWorld({
      sessions: (real) => ({
        end: (command) => {
          ended.push(command.reason);
          return real.end(command);
        },
      }),
    });
    const { subject } = await settle(world);
    await world.stores[Symbol.asyncDispose]();
    await expect(erase(world, subject)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(ended).toEqual([]);
  });

  it('leaves no session that was made while it was under way', async () => {
    const made = sessionOf();
    const world = await privacyWorld({
      subjects: (real) => ({
        erase: async (command) => {
          const now = command.now;
          const { subject } = command;
          await world.stores.sessions.create(
            createOf({ ...made, subject, createdAt: now, lastUsedAt: now, expiresAt: now + 60_000 }),
          );
          return await real.erase(command);
        },
      }),
    });
    const { subject } = await settle(world);
    await erase(world, subject);
    expect(await world.stores.sessions.read(REALM, made.id)).toBeUndefined();
    const { entries } = await world.stores.sessions.changesAfter(REALM, 0, 100);
    expect(entries.at(-1)).toMatchObject({ sessionId: made.id, endReason: 'ERASED', subject: '' });
    expect(bytesOnDisk(world).includes(subject)).toBe(false);
  });

  it('by two at once leaves the same, and neither fails', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    await Promise.all([erase(world, subject), erase(world, subject)]);
    expect(bytesOnDisk(world).includes(subject)).toBe(false);
    expect(await eventsOf(world, subject)).toEqual([]);
  });
});
