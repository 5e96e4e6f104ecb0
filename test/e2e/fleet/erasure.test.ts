import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { status } from '@grpc/grpc-js';
import SqliteDatabase from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { findPostgresProgram } from '../../../scripts/servers/binaries.ts';
import { DATABASE, ROLES } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { verifyTrail, whenFlushed } from '../../support/fleet-trail.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { enrolledPerson } from '../../support/people.ts';
import { approvedTransfer } from '../../support/step-up.ts';

const run = promisify(execFile);
const ADDRESS = '203.0.113.77';
const AGENT = 'Firefox of ann only';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await Fleet.start({ sidecars: 2, proxies: true, settings: UNHURRIED });
});
afterAll(() => fleet[Symbol.asyncDispose]());

/** Signs in, enrols and proves, at both sidecars or where it is said, with a connection that nobody else has. */
async function life(subject: string, at: readonly number[] = [0, 1]) {
  const client = { ipAddress: ADDRESS, userAgent: AGENT, deviceId: `device-${subject}` };
  const person = await enrolledPerson(fleet.client(0), subject);
  const sessions = await Promise.all(
    at.map((index) => fleet.client(index).unary(SessionService.method.createSession, { subject, client })),
  );
  await approvedTransfer(fleet.client(at.at(-1) ?? 0), person);
  for (const { token } of sessions)
    for (const index of at) await fleet.client(index).unary(SessionService.method.validateSession, { token, client });
  return [person.token, ...sessions.map(({ token }) => token)];
}

async function exported(index: number, subject: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const { chunk } of fleet.client(index).serverStream(PrivacyService.method.exportSubject, { subject }))
    chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const eventsAt = async (index: number, subject = '') =>
  (
    await fleet.operator(index).unary(AuditService.method.queryEvents, {
      filter: { realm: 'default', subject },
      pageSize: 1_000,
    })
  ).events;

const isRefused = (token: string) => async (index: number) =>
  await fleet
    .client(index)
    .unary(SessionService.method.validateSession, { token })
    .then(
      () => false,
      (error: { readonly code: number }) => error.code === status.UNAUTHENTICATED,
    );

const erase = (index: number, subject: string) =>
  fleet.operator(index).unary(PrivacyService.method.eraseSubject, { subject, reason: 'asked for in writing' });

const rowsOf = async (subject: string) =>
  await fleet.postgres.query<{ ref: string }>('SELECT ref FROM subject_keys WHERE subject = $1', [subject], DATABASE);

/** All of the database as text, as a backup would have it. */
async function dump(): Promise<string> {
  const url = fleet.postgres.url(DATABASE, ROLES.owner);
  // Of the same release as the server, which others may refuse.
  const { stdout } = await run(findPostgresProgram('pg_dump'), ['--inserts', url], { maxBuffer: 1 << 28 });
  return stdout;
}

/** Every key and value that Redis has. */
async function redisDump(): Promise<string> {
  const [server] = fleet.redis.servers;
  if (!server) throw new Error('no Redis');
  const keys = (await server.cli('KEYS', '*')).split('\n').filter((key) => key !== '');
  const values = await Promise.all(keys.map((key) => server.cli('DUMP', key)));
  return [...keys, ...values].join('\n');
}

const filesOf = (index: number) => {
  const { dataDir } = fleet.sidecar(index);
  return Buffer.concat(readdirSync(dataDir).map((name) => readFileSync(join(dataDir, name))));
};

/** Keys that wait on the disk of a sidecar. */
function stashedAt(index: number): number {
  const path = join(fleet.sidecar(index).dataDir, 'audit.db');
  const db = new SqliteDatabase(path, { readonly: true, timeout: 5_000 });
  try {
    return db.prepare<[], { n: number }>('SELECT count(*) AS n FROM stashed_keys').get()?.n ?? Number.NaN;
  } finally {
    db.close();
  }
}

describe('a person who is erased at one sidecar', () => {
  it('is nowhere: no sidecar, database, copy or file has a name, address or agent of theirs, and the trail verifies', async () => {
    const subject = 'ann-to-be-erased';
    const tokens = await life(subject);
    await life('bob-who-stays');
    await whenFlushed(fleet);
    const before = await exported(1, subject);
    for (const value of [subject, ADDRESS, AGENT, `device-${subject}`]) expect(before).toContain(value);
    expect(JSON.parse(before)).toMatchObject({ complete: true });
    const [{ subjectRef } = { subjectRef: '' }] = await eventsAt(1, subject);
    expect(subjectRef).not.toBe('');
    expect(await dump()).toContain(subject);

    const gone = await erase(0, subject);
    expect(gone).toMatchObject({ factors: 1, sessions: 3 });

    for (const index of [0, 1]) {
      // The other one has heard of it within 2 s at most (docs/shared-state.md).
      for (const token of tokens) await eventually(`sidecar ${index} refuses`, () => isRefused(token)(index), 2_000);
      expect(await eventsAt(index, subject)).toEqual([]);
    }
    await whenFlushed(fleet);
    const theirs = (await eventsAt(1)).filter((event) => event.subjectRef === subjectRef);
    expect(theirs.map(({ type }) => type)).toContain('subject.erased');
    for (const event of theirs) expect([event.subject, event.ipAddress, event.userAgent]).toEqual(['', '', '']);
    const after = await dump();
    expect(after).not.toContain(subject);
    expect(await redisDump()).not.toContain(subject);
    for (const index of [0, 1]) expect(filesOf(index).includes(subject), `files of ${index}`).toBe(false);
    expect(JSON.parse(await exported(0, subject))).toMatchObject({
      sessions: [],
      factors: [],
      consents: [],
      challenges: [],
    });
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
    expect(await exported(1, 'bob-who-stays')).toContain(ADDRESS);
  });

  it('has another pseudonym when they come back, at every sidecar', async () => {
    const subject = 'eve-who-comes-back';
    await life(subject);
    await whenFlushed(fleet);
    const [{ subjectRef: old } = { subjectRef: '' }] = await eventsAt(0, subject);
    await erase(0, subject);
    // The other one hears of it within its two seconds.
    await eventually(
      'the other sidecar has forgotten the key',
      async () => {
        await fleet.client(1).unary(SessionService.method.createSession, { subject });
        await whenFlushed(fleet);
        return (await eventsAt(1, subject)).some(({ type }) => type === 'session.created');
      },
      10_000,
    );
    for (const index of [0, 1])
      for (const event of await eventsAt(index, subject)) expect(event.subjectRef).not.toBe(old);
    expect(await rowsOf(subject)).toHaveLength(1);
  });

  it('does not come back from the disk of a sidecar that was cut off and had made a key of its own', async () => {
    const subject = 'kim-of-the-outage';
    const { postgres } = fleet.paths(1);
    // Sidecar 1 has never heard of them.
    await life(subject, [0]);
    await whenFlushed(fleet);
    postgres.refuse();
    postgres.cutAll();
    // Refused before it reaches a store, and an event about the person all the same.
    const refused = fleet
      .client(1)
      .unary(PrivacyService.method.withdrawConsent, { subject, requestId: 'no uuid', method: 1 });
    await expect(refused).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await eventually('sidecar 1 has made a key of its own', async () => stashedAt(1) === 1, 10_000);
    await erase(0, subject);
    postgres.refuse(false);
    await eventually(
      'sidecar 1 reaches PostgreSQL again',
      async () => (await eventsAt(1).catch(() => [])).length > 0,
      20_000,
    );
    await whenFlushed(fleet);
    await eventually('nobody has a key of theirs', async () => (await rowsOf(subject)).length === 0, 10_000);
    expect((await eventsAt(0, subject)).length).toBe(0);
    const all = await eventsAt(0);
    expect(all.some(({ type }) => type === 'request.refused')).toBe(true);
    expect(all.filter((event) => event.subject === subject)).toEqual([]);
    await fleet.sidecar(1).stop();
    expect(stashedAt(1)).toBe(0);
    await fleet.restart(1);
    expect(await rowsOf(subject)).toEqual([]);
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });

  it('is erased by the same call again when the sidecar was killed in the middle of it', async () => {
    const subject = 'lee-half-way';
    await life(subject);
    const requestId = '3f0d2a52-9f8c-4b29-9d9a-9d5f3f0a1b11';
    const call = { subject, reason: 'asked for', requestId };
    const begun = fleet
      .operator(1)
      .unary(PrivacyService.method.eraseSubject, call)
      .catch(() => undefined);
    await eventually(
      'the sessions ended',
      async () =>
        (
          await fleet.postgres.query(
            `SELECT 1 FROM sessions WHERE subject = $1 AND ended_at IS NULL`,
            [subject],
            DATABASE,
          )
        ).length === 0,
      5_000,
    );
    await fleet.kill(1);
    await begun;
    await fleet.operator(0).unary(PrivacyService.method.eraseSubject, call);
    await fleet.restart(1);
    await whenFlushed(fleet);
    expect(await dump()).not.toContain(subject);
    for (const index of [0, 1]) expect(await eventsAt(index, subject)).toEqual([]);
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });
});
