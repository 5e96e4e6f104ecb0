import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DATABASE } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { verifyTrail, whenFlushed } from '../../support/fleet-trail.ts';
import { CodeWitness, SessionWitness } from '../../support/fleet-witness.ts';
import { insist } from '../../support/insist.ts';
import { PATIENT } from '../../support/patient-settings.ts';

const ROUNDS = 5;

interface Store {
  readonly name: string;
  kill(): Promise<void>;
  freeze(): Promise<void>;
  restart(): Promise<void>;
  thaw(): Promise<void>;
}

const pick = <T>(choices: readonly T[]): T => choices[randomInt(choices.length)] as T;

/** Takes a store away in one of two ways; answers how to bring it back, and what was done. */
async function strike(store: Store): Promise<{ readonly how: string; mend(): Promise<void> }> {
  const how = pick(['kill', 'freeze'] as const);
  await store[how]();
  return { how: `${how} ${store.name}`, mend: () => (how === 'kill' ? store.restart() : store.thaw()) };
}

describe('three sidecars whose Redis and PostgreSQL go away and come back, in any order, under load', () => {
  let fleet: Fleet;
  let codes: CodeWitness;
  let sessions: SessionWitness;

  beforeAll(async () => {
    fleet = await Fleet.start({ settings: PATIENT });
    sessions = new SessionWitness(fleet);
    codes = await CodeWitness.prepare(fleet, { persons: 9 });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('never say a wrong yes, never need a restart, and live all the time', async () => {
    const { postgres, redis } = fleet;
    const stores: readonly Store[] = [
      {
        name: 'postgres',
        kill: () => postgres.kill(),
        freeze: () => postgres.freeze(),
        restart: () => postgres.restart(),
        thaw: () => postgres.thaw(),
      },
      {
        name: 'redis',
        kill: () => redis.kill(),
        freeze: () => redis.freeze(),
        restart: () => redis.restart(),
        thaw: () => redis.thaw(),
      },
    ];
    const pids = fleet.sidecars.map(({ child }) => child.pid);
    const done: string[] = [];
    let running = true;
    const dead: string[] = [];
    const living = (async () => {
      while (running) {
        for (const { adminUrl } of fleet.sidecars) {
          const answer = await fetch(`${adminUrl}/livez`).catch((error: unknown) => ({ status: String(error) }));
          if (answer.status !== 200) dead.push(`${answer.status}`);
        }
        await pause(100);
      }
    })();
    const load = Promise.allSettled([sessions.run(), codes.run(), living]);
    let bothWereAway = 0;
    try {
      for (let round = 0; round < ROUNDS; round += 1) {
        const order = randomInt(2) === 0 ? stores : stores.toReversed();
        const struck = [];
        for (const store of order) {
          struck.push(await strike(store));
          await pause(pick([0, 300, 900]));
        }
        await eventually('no sidecar is ready', () => readiness(fleet, 503), 15_000);
        bothWereAway += 1;
        await pause(pick([100, 600]));
        const back = randomInt(2) === 0 ? struck : struck.toReversed();
        for (const { mend } of back) {
          await mend();
          await pause(pick([0, 300, 900]));
        }
        done.push(`${struck.map(({ how }) => how).join(', ')}; back: ${back.map(({ how }) => how).join(', ')}`);
        await eventually(`all are ready again after ${done.at(-1)}`, () => readiness(fleet, 200), 15_000);
        const goodBefore = sessions.good;
        await eventually('sessions are good again', () => sessions.good > goodBefore + 30, 15_000);
      }
    } finally {
      running = false;
      sessions.stop();
      codes.stop();
    }
    expect((await load).filter(({ status }) => status === 'rejected')).toEqual([]);
    const story = done.join('\n');
    expect(sessions.wrongYes, story).toEqual([]);
    expect(sessions.wrongNo, story).toEqual([]);
    expect(codes.wrongYes, story).toEqual([]);
    expect(dead, story).toEqual([]);
    expect(bothWereAway).toBe(ROUNDS);
    expect(fleet.sidecars.map(({ child }) => [child.pid, child.exitCode, child.signalCode])).toEqual(
      pids.map((pid) => [pid, null, null]),
    );
    // The run was worth something.
    expect(sessions.good, story).toBeGreaterThan(50);
    expect(sessions.ended.length, story).toBeGreaterThan(20);
    expect(codes.approved, story).toBeGreaterThan(10);
    expect(codes.redeemed, story).toBeGreaterThan(5);
  });

  it('have made every end durable that was in force, and say no to those sessions for good', async () => {
    const notDurable = async () => {
      const rows = await fleet.postgres.query<{ id: string }>(
        'SELECT id FROM sessions WHERE id = ANY($1) AND ended_at IS NOT NULL',
        [sessions.ended.map(({ id }) => id)],
        DATABASE,
      );
      const durable = new Set(rows.map(({ id }) => id));
      return sessions.ended
        .filter(({ id }) => !durable.has(id))
        .map(({ id, by, at, durable: was }) => ({ id, by, at, was }));
    };
    await expect.poll(notDurable, { timeout: 10_000 }).toEqual([]);
    // By then all have heard of what is durable (docs/shared-state.md).
    await pause(2_000);
    const verdict = async (index: number, token: string): Promise<number> => {
      for (;;) {
        const { code } = await sessions.ask(index, token);
        if (code !== status.UNAVAILABLE) return code;
        await pause(100);
      }
    };
    for (const [index] of fleet.sidecars.entries())
      for (const { token } of sessions.ended) expect(await verdict(index, token)).toBe(status.UNAUTHENTICATED);
  });

  it('serve all kinds of work again, and verify', async () => {
    for (const [index] of fleet.sidecars.entries()) {
      const fresh = await insist(() => sessions.create(index, `after-${randomUUID()}`));
      await expect
        .poll(async () => (await sessions.ask((index + 1) % 3, fresh.token)).code, { timeout: 10_000 })
        .toBe(0);
    }
    await whenFlushed(fleet);
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });
});

async function readiness(fleet: Fleet, expected: number): Promise<boolean> {
  const answers = await Promise.all(fleet.sidecars.map(({ adminUrl }) => fetch(`${adminUrl}/readyz`)));
  await Promise.all(answers.map((answer) => answer.text()));
  return answers.every((answer) => answer.status === expected);
}
