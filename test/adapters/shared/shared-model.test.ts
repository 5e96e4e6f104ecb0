import { describe, expect, it } from 'vitest';
import type { Session } from '#src/domain/session.ts';
import { type SharedSidecar, sharedWorld } from '../../support/shared-sidecars.ts';

/**
 * Many sidecars, and everything that can happen to what they share, in an order drawn from a seed. Whoever was told that a
 * session has ended, or that a token is replaced, must not see it pass again once the time has run out that is stated for
 * the trouble there was.
 */

const SEEDS = 150;
const STEPS = 200;
/** No look at the log is good for longer. */
const STATED = 2_000;
const LONGEST_OUTAGE = 5_000;
/** Pending ends are looked for this often where the database is there, and news of them may be lost. */
const STATED_WHILE_PENDING = 6_500;

interface Death {
  readonly at: number;
  readonly by: 'end' | 'rotation';
  readonly durable: boolean;
  /** The news of it did not reach everybody, and nobody noticed. */
  readonly untold: boolean;
  /** Redis lost its memory before the end was durable: only those who had seen it know. */
  atRisk: boolean;
  durableAt: number | undefined;
}

interface Token {
  readonly digest: string;
  session: Session;
  death: Death | undefined;
}

describe('sidecars that share a state', () => {
  it('never accept what was ended longer ago than is stated, whatever Redis and PostgreSQL do', async () => {
    const seen = { memory: 0, store: 0, inOutage: 0, deaths: 0, inForce: 0, refusals: 0 };
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await play(seed);
      for (const key of Object.keys(seen) as (keyof typeof seen)[]) seen[key] += run[key];
    }
    // It says nothing if nothing happened.
    for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(100);
  }, 120_000);
});

async function play(seed: number) {
  const random = generator(seed);
  const pick = <T>(from: readonly T[]): T => {
    const picked = from[Math.floor(random() * from.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  };
  const chance = (probability: number) => random() < probability;
  const world = sharedWorld({ longestOutageMs: LONGEST_OUTAGE, seed: `model ${seed}` });
  const { bus, clock, database, redis, settle } = world;
  const tokens: Token[] = [];
  const seen = { memory: 0, store: 0, inOutage: 0, deaths: 0, inForce: 0, refusals: 0 };
  const history: string[] = [];
  let dump = redis.dump();
  let lossy = false;
  bus.loses = () => lossy && chance(0.7);

  /** Sessions whose end each sidecar was told of. */
  const heard = new Map<SharedSidecar, Set<string>>();
  /** Since when each reaches PostgreSQL. */
  const reachable = new Map<SharedSidecar, number>();
  const findPostgres = (sidecar: SharedSidecar) => {
    if (!sidecar.gate.away) return;
    sidecar.findPostgres();
    reachable.set(sidecar, clock.monotonic());
  };
  const start = async (name: string) => {
    const sidecar = world.sidecar(name);
    const ids = new Set<string>();
    heard.set(sidecar, ids);
    sidecar.signals.onSessionsEnded((ends) => {
      for (const { sessionId } of ends) ids.add(sessionId);
    });
    await sidecar.start();
    reachable.set(sidecar, clock.monotonic());
    return sidecar;
  };
  let sidecars = await Promise.all(['a', 'b', 'c'].map(start));
  const note = (line: string) => history.push(`${Math.round(clock.monotonic())} ${line}`);

  const kill = (token: Token, by: Death['by'], durable: boolean, sayer: SharedSidecar) => {
    if (token.death?.durable === true || (token.death && !durable)) return;
    seen.deaths += 1;
    if (!durable) seen.inForce += 1;
    const at = clock.monotonic();
    const untold = lossy || sayer.news.cut;
    token.death = { at, by, durable, untold, atRisk: false, durableAt: durable ? at : undefined };
  };
  const recent = () => {
    const live = tokens.filter(({ death }) => !death).slice(-4);
    return live.length > 0 ? pick(live) : undefined;
  };
  const redisForgot = () => {
    for (const { death } of tokens) if (death && !death.durable) death.atRisk = true;
  };

  const operations: Readonly<Record<string, readonly [weight: number, run: () => Promise<void> | void]>> = {
    create: [
      6,
      async () => {
        const sidecar = pick(sidecars);
        const subject = pick(['ann', 'bob', 'cid']);
        try {
          const session = await sidecar.create({ subject });
          tokens.push({ digest: session.tokenDigest, session, death: undefined });
          note(`${sidecar.name} creates ${session.id} of ${subject}`);
        } catch {
          seen.refusals += 1;
        }
      },
    ],
    validate: [
      60,
      async () => {
        // Those that died lately are what it is about.
        const dead = tokens.filter(({ death }) => death).slice(-4);
        const token = dead.length > 0 && chance(0.5) ? pick(dead) : recent();
        if (!token) return;
        for (const sidecar of chance(0.3) ? sidecars : [pick(sidecars)]) {
          const answer = await sidecar.validate(token.digest);
          if (answer === 'unavailable') seen.refusals += 1;
          if (answer !== 'memory' && answer !== 'store') continue;
          seen[answer] += 1;
          if (sidecar.gate.away) seen.inOutage += 1;
          judge(token, sidecar, answer);
        }
      },
    ],
    end: [
      6,
      async () => {
        const token = recent();
        if (!token) return;
        const sidecar = pick(sidecars);
        const outcome = await sidecar.end({ kind: 'ids', sessionIds: [token.session.id] });
        note(`${sidecar.name} ends ${token.session.id}: ${outcome}`);
        if (outcome === 'refused') return;
        for (const each of tokens)
          if (each.session.id === token.session.id) kill(each, 'end', outcome === 'ended', sidecar);
      },
    ],
    endAll: [
      1,
      async () => {
        const sidecar = pick(sidecars);
        const subject = pick(['ann', 'bob', 'cid']);
        const outcome = await sidecar.end({ kind: 'subject', subject, exceptSessionId: '' });
        note(`${sidecar.name} ends all of ${subject}: ${outcome}`);
        if (outcome === 'refused') return;
        for (const each of tokens)
          if (each.session.subject === subject) kill(each, 'end', outcome === 'ended', sidecar);
      },
    ],
    rotate: [
      5,
      async () => {
        const token = recent();
        if (!token) return;
        const sidecar = pick(sidecars);
        const digest = `rotated ${tokens.length} ${seed}`;
        const session = await sidecar.rotate(token.session, digest);
        note(`${sidecar.name} rotates ${token.session.id}: ${session !== undefined}`);
        if (!session) return;
        kill(token, 'rotation', true, sidecar);
        tokens.push({ digest, session, death: undefined });
      },
    ],
    heal: [
      4,
      async () => {
        lossy = false;
        for (const sidecar of sidecars) {
          sidecar.findRedis();
          findPostgres(sidecar);
        }
        note('all is well');
        await clock.advanceSlowly(1_500, 100);
      },
    ],
    purge: [
      1,
      async () => {
        await database.purge(clock.now() + 1);
        note('the log is trimmed');
      },
    ],
    wait: [20, () => clock.advanceSlowly(pick([20, 100, 300, 1_000, 3_000]), 50)],
    dump: [
      3,
      () => {
        dump = redis.dump();
        note('redis is dumped');
      },
    ],
    restore: [
      2,
      () => {
        redisForgot();
        dump();
        note('redis comes back from the dump');
      },
    ],
    flush: [
      1,
      () => {
        redisForgot();
        redis.flush();
        note('redis is flushed');
      },
    ],
    loseNews: [
      3,
      () => {
        lossy = !lossy;
        note(`news get lost: ${lossy}`);
      },
    ],
    cutNews: [
      4,
      async () => {
        const { name, news } = pick(sidecars);
        if (news.connected && !news.cut) {
          // It takes a while until it is noticed.
          news.cut = true;
          note(`${name} is cut off from news`);
          await clock.advanceSlowly(pick([0, 300, 1_000]), 50);
          news.disconnect();
        } else {
          news.reconnect();
          note(`${name} gets news again`);
        }
      },
    ],
    redisAway: [
      3,
      () => {
        const all = chance(0.5) ? sidecars : [pick(sidecars)];
        for (const sidecar of all) {
          if (sidecar.front.away) sidecar.findRedis();
          else sidecar.loseRedis();
          note(`${sidecar.name} reaches redis: ${!sidecar.front.away}`);
        }
      },
    ],
    postgresAway: [
      5,
      async () => {
        const all = chance(0.6) ? sidecars : [pick(sidecars)];
        const away = all.filter(({ gate }) => gate.away);
        for (const sidecar of away) findPostgres(sidecar);
        const lost = all.filter((sidecar) => !away.includes(sidecar));
        for (const sidecar of lost) {
          sidecar.gate.away = true;
          reachable.delete(sidecar);
        }
        note(`postgres: ${all.map(({ name, gate }) => `${name} ${!gate.away}`).join(', ')}`);
        // And here as well.
        if (lost.length > 0 && chance(0.5)) await clock.advanceSlowly(pick([100, 500]), 50);
        for (const sidecar of lost) sidecar.losePostgres();
      },
    ],
    restart: [
      1,
      async () => {
        const old = pick(sidecars);
        await old.stop();
        bus.members.delete(old.news);
        // What only that one knew is forgotten.
        redisForgot();
        const next = await start(old.name);
        if (old.gate.away) {
          next.losePostgres();
          reachable.delete(next);
        }
        if (old.front.away) next.loseRedis();
        sidecars = sidecars.map((each) => (each === old ? next : each));
        note(`${old.name} is started again`);
      },
    ],
  };

  const judge = (token: Token, sidecar: SharedSidecar, answer: string) => {
    const { death, session } = token;
    const now = clock.monotonic();
    const tell = (what: string) => `seed ${seed}: ${what} at ${now}\n${history.slice(-25).join('\n')}`;
    if (death?.by === 'end' && heard.get(sidecar)?.has(session.id)) {
      expect.fail(tell(`${sidecar.name} accepted ${session.id} (${answer}), of whose end it was told`));
    }
    if (!death) return;
    const from = death.atRisk ? death.durableAt : death.at;
    if (from === undefined) return;
    const asksPostgres = now - (reachable.get(sidecar) ?? now) >= STATED;
    const stated = !death.durable ? STATED_WHILE_PENDING : death.untold && !asksPostgres ? LONGEST_OUTAGE : STATED;
    const age = now - from;
    if (age > stated) expect.fail(tell(`${sidecar.name} accepted ${session.id} (${answer}), dead for ${age} ms`));
  };

  const deck = Object.entries(operations).flatMap(([name, [weight]]) => Array<string>(weight).fill(name));
  for (let step = 0; step < STEPS; step++) {
    await operations[pick(deck)]?.[1]();
    await settle();
    for (const { death, session } of tokens) {
      const stored = database.sessions.get(session.id);
      if (death && death.durableAt === undefined && (!stored || stored.endReason !== undefined)) {
        death.durableAt = clock.monotonic();
      }
    }
  }

  lossy = false;
  for (const sidecar of sidecars) {
    sidecar.findRedis();
    findPostgres(sidecar);
  }
  await clock.advanceSlowly(3 * STATED, 100);
  note('all is well again');
  for (const token of tokens) {
    const stored = database.sessions.get(token.session.id);
    const isGood = stored !== undefined && stored.endReason === undefined && stored.tokenDigest === token.digest;
    // An end that was in force only, and then lost with Redis and with whoever knew of it, was never promised.
    if (token.death && !token.death.atRisk) expect(isGood, `seed ${seed}: ${token.session.id} is durable`).toBe(false);
    for (const sidecar of sidecars) {
      const answer = await sidecar.validate(token.digest);
      expect(answer === 'memory' || answer === 'store', `seed ${seed}: ${token.session.id} at ${sidecar.name}`).toBe(
        isGood,
      );
    }
  }
  await Promise.all(sidecars.map((sidecar) => sidecar.stop()));
  return seen;
}

/** mulberry32: numbers in [0, 1), the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
