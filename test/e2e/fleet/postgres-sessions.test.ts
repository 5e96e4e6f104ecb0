import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { SAME_OUTAGE_WITHIN } from '#src/domain/outage.ts';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { DATABASE } from '../../../scripts/servers/central-database.ts';
import { methodOf } from '../../support/api-calls.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { centralEvents, namedUncertain, verifyTrail, whenFlushed } from '../../support/fleet-trail.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { validate, watchSession } from '../../support/sessions-watched.ts';
import { undisturbed } from '../../support/undisturbed.ts';
import { type WireAnswer, WireClient } from '../../support/wire-answers.ts';

/** Each far longer than it takes until the last sidecar has noticed that PostgreSQL is away. */
const LIMITS = { low: 7_000, normal: 5_500, sensitive: 4_000, critical: 0 } as const;
/** The limit runs by the monotonic clock as well, and instants are told in whole milliseconds. */
const CLOCKS_MS = 15;
/** An end is in force on every sidecar within the second (docs/outages.md). */
const IN_FORCE_MS = 1_000;
/** And every sidecar that missed the word of it finds it in the list in Redis. */
const LISTED_MS = 1_500;

const good = ({ code }: WireAnswer) => code === status.OK;
const isInvalid = ({ code, reason }: WireAnswer) => code === status.UNAUTHENTICATED && reason === 'SESSION_INVALID';

describe('three sidecars that have lost PostgreSQL, and have Redis', () => {
  let fleet: Fleet;
  let wires: WireClient[] = [];
  let outageEndedAt = 0;

  const wire = (index: number) => {
    const found = wires[index];
    if (!found) throw new Error(`no sidecar ${index}`);
    return found;
  };
  const connect = () => {
    for (const each of wires) each.close();
    wires = fleet.sidecars.map(({ grpcAddress }) => new WireClient(grpcAddress, { 'x-sallyport-client': 'watch' }));
  };
  const signIn = async (subject: string, index = 0) => {
    const { token, session } = await fleet.client(index).unary(SessionService.method.createSession, { subject });
    return { subject, token, id: session?.id ?? '' };
  };
  /** Makes the session known to every sidecar's memory, as its use would. */
  const used = async (token: string) => {
    for (const each of wires) expect(await validate(each, token)).toMatchObject({ code: status.OK });
  };
  const copies = async () => {
    const keys = await Promise.all(fleet.redis.servers.map((server) => server.cli('KEYS', '*:session:*')));
    return keys.flatMap((of) => of.split('\n')).filter((key) => key !== '').length;
  };
  /** Signs in, and lets the copy arrive in Redis. */
  const copied = async (subject: string) => {
    const before = await copies();
    const session = await signIn(subject);
    await eventually('Redis has a copy', async () => (await copies()) > before);
    return session;
  };
  const dependency = async (index: number) => {
    const { dependencies } = await fleet.caller(index).unary(AdminService.method.getInfo, {});
    return dependencies.find(({ name }) => name === 'postgres');
  };
  const allSay = (up: boolean) => async () => {
    const states = await Promise.all(
      fleet.sidecars.map(({ child }, index) =>
        (child.exitCode ?? child.signalCode) === null ? dependency(index) : undefined,
      ),
    );
    return states.every((state) => state === undefined || state.up === up);
  };
  const lose = async () => {
    await fleet.postgres.kill();
    await eventually('all sidecars notice', allSay(false), 5_000);
  };
  const findAgain = async () => {
    await fleet.postgres.restart();
    await eventually('all sidecars have it again', allSay(true), 10_000);
    outageEndedAt = Date.now();
  };
  const revoke = (index: number, session: { readonly id: string; readonly subject: string }) =>
    wire(index).call(methodOf('SessionService/RevokeSession'), {
      session: { case: 'sessionId', value: session.id },
      subject: session.subject,
    });
  const endedAt = async ({ id }: { readonly id: string }) => {
    const rows = await fleet.postgres.query<{ ended_at: string | null }>(
      'SELECT ended_at FROM sessions WHERE id = $1',
      [id],
      DATABASE,
    );
    return Number(rows[0]?.ended_at ?? 0);
  };

  beforeAll(async () => {
    fleet = await Fleet.start({
      settings: {
        SALLYPORT_OUTAGE_POSTGRES_LOW: `${LIMITS.low}ms`,
        SALLYPORT_OUTAGE_POSTGRES_NORMAL: `${LIMITS.normal}ms`,
        SALLYPORT_OUTAGE_POSTGRES_SENSITIVE: `${LIMITS.sensitive}ms`,
        SALLYPORT_OUTAGE_POSTGRES_CRITICAL: '0s',
        // PostgreSQL is killed, which is noticed without any time-out.
        ...UNHURRIED,
      },
    });
    connect();
  });
  beforeEach(async () => {
    if (!fleet.postgres.running) await findAgain();
  });
  afterAll(async () => {
    for (const each of wires) each.close();
    await fleet[Symbol.asyncDispose]();
  });

  it('put a revocation in force everywhere at once, and never take it back, though its sidecar dies', async () => {
    const [one, kept, other] = [await signIn('one'), await signIn('kept'), await signIn('other', 1)];
    for (const { token } of [one, kept, other]) await used(token);
    await lose();
    const watches = wires.map((client) => watchSession(client, one.token, 'low', 5));
    await pause(50);
    const answer = await revoke(2, one);
    const toldAt = Date.now();
    expect(answer).toMatchObject({
      code: status.UNAVAILABLE,
      reason: 'STORE_UNAVAILABLE',
      metadata: { inForce: 'true' },
    });
    expect(answer.retryMs).toBeGreaterThanOrEqual(1_000);
    const everybody = await wire(0).call(methodOf('SessionService/RevokeAllSessions'), { subject: other.subject });
    expect(everybody.metadata['inForce']).toBe('true');
    // Long enough to see whether the others are in time.
    await pause(IN_FORCE_MS + 500);
    // The one that took it is gone before PostgreSQL is back; the others know it from Redis alone.
    await watches[2]?.stop();
    await fleet.kill(2);
    expect(await endedAt(one).catch(() => 'away')).toBe('away');
    await findAgain();
    await eventually('the end is durable', async () => (await endedAt(one)) > 0 && (await endedAt(other)) > 0, 10_000);
    await pause(500);
    for (const watch of watches) {
      const answers = await watch.stop();
      // The sidecar that was asked knows when it answers.
      const late = answers.filter(({ from }) => from > toldAt + (watch === watches[2] ? 0 : IN_FORCE_MS));
      expect(late.filter(good)).toEqual([]);
      const lastGood = answers.findLast(good)?.from ?? 0;
      const firstBad = answers.find(isInvalid)?.from ?? 0;
      expect(firstBad, 'once it is no more it never comes back').toBeGreaterThanOrEqual(lastGood);
    }
    await fleet.restart(2);
    connect();
    for (const client of wires) {
      expect(await validate(client, one.token)).toSatisfy(isInvalid);
      expect(await validate(client, other.token)).toSatisfy(isInvalid);
      expect(await validate(client, kept.token)).toSatisfy(good);
    }
    // And the caller who asks again hears of success now.
    expect(await revoke(1, one)).toMatchObject({ code: status.OK });
  });

  it('make a revocation durable when Redis forgets it before PostgreSQL is back: who heard of it remembers', async () => {
    const session = await signIn('forgotten');
    await used(session.token);
    await lose();
    expect(await revoke(0, session)).toMatchObject({ metadata: { inForce: 'true' } });
    for (const client of wires)
      await eventually('all refuse it', async () => !good(await validate(client, session.token, 'low')), 10_000);
    await pause(LISTED_MS + 500);
    await fleet.redis.flush();
    for (const client of wires) expect(await validate(client, session.token, 'low')).not.toSatisfy(good);
    await findAgain();
    await eventually('the end is durable', async () => (await endedAt(session)) > 0, 10_000);
    for (const client of wires) expect(await validate(client, session.token)).toSatisfy(isInvalid);
  });

  it('answer for known sessions as long as the sensitivity allows, to the moment, and then refuse', () =>
    undisturbed(async (go) => {
      if (!fleet.postgres.running) await findAgain();
      // Otherwise it would count as the last outage.
      await pause(Math.max(0, outageEndedAt + SAME_OUTAGE_WITHIN + 200 - Date.now()));
      const inMemory = await copied(`known-${go}`);
      await used(inMemory.token);
      // Only Redis has it for the other sidecars: they never saw it.
      const inRedis = await copied(`copied-${go}`);
      await lose();
      const watched = wires.flatMap((client, index) =>
        SENSITIVITIES.map((use) => ({
          index,
          use,
          watch: watchSession(client, (index === 2 ? inRedis : inMemory).token, use),
        })),
      );
      await using watching = new AsyncDisposableStack();
      for (const { watch } of watched) watching.defer(async () => void (await watch.stop()));
      const since = await Promise.all(
        wires.map(async (_, index) => {
          const at = (await dependency(index))?.sinceTime;
          return Number(at?.seconds ?? 0) * 1_000 + (at?.nanos ?? 0) / 1_000_000;
        }),
      );
      expect((await fetch(`${fleet.sidecar(0).adminUrl}/readyz`)).status).toBe(200);
      await pause(LIMITS.low + 1_000);
      // Nothing is of use any more, and the process lives.
      for (const { adminUrl } of fleet.sidecars) {
        expect((await fetch(`${adminUrl}/readyz`)).status).toBe(503);
        expect((await fetch(`${adminUrl}/livez`)).status).toBe(200);
      }
      for (const { index, use, watch } of watched) {
        const over = (since[index] ?? 0) + LIMITS[use];
        const answers = await watch.stop();
        const earlier = answers.filter(({ to }) => to < over - CLOCKS_MS);
        const later = answers.filter(({ from }) => from > over + CLOCKS_MS);
        expect(
          earlier.filter((answer) => !good(answer)),
          `sidecar ${index}, ${use}, before`,
        ).toEqual([]);
        expect(
          later.filter((answer) => answer.reason !== 'STORE_UNAVAILABLE'),
          `sidecar ${index}, ${use}, after`,
        ).toEqual([]);
        expect(later.every(({ code, retryMs = 0 }) => code === status.UNAVAILABLE && retryMs >= 1_000)).toBe(true);
        expect(later.length, `${use}: answers after the limit`).toBeGreaterThan(3);
        if (LIMITS[use] > 0) expect(earlier.length, `${use}: answers before the limit`).toBeGreaterThan(3);
      }
      await findAgain();
      for (const client of wires) {
        expect(await validate(client, inMemory.token, 'critical')).toMatchObject({ code: status.OK, degraded: '' });
        expect(await validate(client, inRedis.token, 'critical')).toMatchObject({ code: status.OK });
      }
    }));

  it('leave a trail in which each of these ends stands once', async () => {
    await whenFlushed(fleet);
    const events = await centralEvents(fleet.postgres);
    const named = namedUncertain(events);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    const rows = await fleet.postgres.query<{ id: string }>(
      'SELECT id FROM sessions WHERE ended_at IS NOT NULL',
      [],
      DATABASE,
    );
    expect(rows).toHaveLength(3);
    for (const { id } of rows) {
      const ends = events.filter((event) => event.type === 'session.ended' && event.sessionId === id);
      expect(ends.filter((event) => !named.has(event.id))).toHaveLength(1);
    }
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });
});
