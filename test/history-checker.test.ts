import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Call, History, type Observation, type Rules, violations } from './support/history-checker.ts';

const RULES: Rules = { guesses: 5, lockMs: 60_000, liveSessions: 5, staleMs: 1_000 };

/** A call from one instant to another, at a sidecar. */
function call(startedAt: number, endedAt: number, observation: Observation, sidecar = 0): Call {
  return { ...observation, sidecar, startedAt, endedAt };
}

const found = (calls: readonly Call[]) => violations(calls, RULES).map(({ rule }) => rule);
const spend = (outcome: 'taken' | 'refused' | 'unknown', key = 'receipt-1') =>
  ({ kind: 'spend', key, outcome }) as const;
const guess = (outcome: 'wrong' | 'right' | 'locked' | 'unknown', subject = 'ann') =>
  ({ kind: 'guess', subject, outcome }) as const;
const create = (session: string, subject = 'ann') =>
  ({ kind: 'create', subject, session, outcome: 'created' }) as const;
const validate = (session: string, outcome: 'yes' | 'no' | 'unknown') =>
  ({ kind: 'validate', session, outcome }) as const;
const end = (session: string, outcome: 'ended' | 'refused' | 'unknown') => ({ kind: 'end', session, outcome }) as const;

describe('single use', () => {
  it('is broken by two that took the same', () => {
    const calls = [call(0, 10, spend('taken'), 0), call(5, 12, spend('taken'), 1)];
    expect(violations(calls, RULES)).toEqual([
      { rule: 'single_use', what: 'receipt-1 was taken 2 times', calls: [calls[0], calls[1]] },
    ]);
  });

  it('is kept by one that took it, others that were refused, and some that nobody knows of', () => {
    expect(found([call(0, 1, spend('unknown')), call(2, 3, spend('taken')), call(4, 5, spend('refused'))])).toEqual([]);
    expect(found([call(0, 1, spend('taken', 'a')), call(2, 3, spend('taken', 'b'))])).toEqual([]);
  });
});

describe('the budget of guesses', () => {
  const six = (gap: number) =>
    Array.from({ length: 6 }, (_, at) => call(at * gap, at * gap + 5, guess('wrong'), at % 3));

  it('is broken by a sixth evaluated guess within the lock, wherever it was made', () => {
    expect(found(six(1))).toEqual(['guesses']);
    expect(found(six(11_000))).toEqual(['guesses']);
  });

  it('is broken by a sixth among guesses that were made at once, and among many that were locked', () => {
    const parallel = Array.from({ length: 6 }, (_, at) => call(0, 100 + at, guess('wrong'), at));
    const locked = Array.from({ length: 50 }, () => call(0, 200, guess('locked')));
    expect(found([...locked, ...parallel])).toEqual(['guesses']);
    expect(found([...locked, ...parallel.slice(0, 5)])).toEqual([]);
  });

  it('is kept by guesses that wait for the lock to run out', () => {
    const later = call(60_010, 60_020, guess('wrong'));
    expect(found([...six(1).slice(0, 5), later])).toEqual([]);
    expect(found(six(12_000))).toEqual([]);
  });

  it.each([
    ['a right one', guess('right')],
    ['one of unknown outcome', guess('unknown')],
    ['an unlock', { kind: 'unlock', subject: 'ann', outcome: 'done' } as const],
  ])('may have been given back in between by %s', (_what, reset) => {
    expect(found([...six(10), call(22, 24, reset)])).toEqual([]);
    expect(found([...six(10), call(70, 80, reset)])).toEqual(['guesses']);
    const ofAnother = 'subject' in reset ? { ...reset, subject: 'bob' } : reset;
    expect(found([...six(10), call(22, 24, ofAnother)])).toEqual(['guesses']);
  });

  it('is counted for each person', () => {
    const mixed = six(1).map((one, at) => (one.kind === 'guess' && at % 2 ? { ...one, subject: 'bob' } : one));
    expect(found(mixed)).toEqual([]);
  });
});

describe('the cap of sessions', () => {
  const livesUntil = (count: number, lastYes: number) =>
    Array.from({ length: count }, (_, at) => [
      call(at, at + 1, create(`s${at}`)),
      call(lastYes, lastYes + 5, validate(`s${at}`, 'yes'), at % 3),
    ]).flat();

  it('is broken by six that are all still said to be valid', () => {
    expect(found(livesUntil(6, 5_000))).toEqual(['live_sessions']);
    expect(found(livesUntil(5, 5_000))).toEqual([]);
  });

  it('is kept when the oldest may have been evicted before the sixth was there', () => {
    const calls = livesUntil(6, 5_000).filter((one) => !(one.kind === 'validate' && one.session === 's0'));
    expect(found([...calls, call(5_000, 5_001, validate('s0', 'no'))])).toEqual([]);
    // A yes that is within its bound of lateness proves nothing.
    expect(found(livesUntil(6, 900))).toEqual([]);
  });
});

describe('a session that was ended', () => {
  const ended = call(100, 110, end('s1', 'ended'), 0);

  it('may not be valid in a validation that began later than the bound after the acknowledgement', () => {
    const late = call(1_111, 1_115, validate('s1', 'yes'), 2);
    expect(violations([ended, late], RULES)).toEqual([
      {
        rule: 'revoked',
        what: 's1: sidecar 2 says yes to a validation that began 1001 ms after sidecar 0 had acknowledged the end',
        calls: [ended, late],
      },
    ]);
  });

  it.each([
    ['the validation began within the bound', [ended, call(1_100, 9_000, validate('s1', 'yes'))]],
    ['it says no', [ended, call(5_000, 5_001, validate('s1', 'no'))]],
    ['the end was not acknowledged', [call(100, 110, end('s1', 'unknown')), call(5_000, 5_001, validate('s1', 'yes'))]],
    ['the end was refused', [call(100, 110, end('s1', 'refused')), call(5_000, 5_001, validate('s1', 'yes'))]],
    ['it is another session', [ended, call(5_000, 5_001, validate('s2', 'yes'))]],
  ])('is nothing to complain of when %s', (_why, calls) => {
    expect(found(calls)).toEqual([]);
  });

  it('is judged by the first acknowledgement', () => {
    const again = call(4_000, 4_010, end('s1', 'ended'));
    expect(found([again, ended, call(3_000, 3_001, validate('s1', 'yes'))])).toEqual(['revoked']);
  });
});

describe('random histories', () => {
  /** One true store with instants; each call is an interval around its instant. `broken` loses that rule now and then. */
  function play(steps: readonly { kind: number; who: number; slack: number }[], broken?: string): Call[] {
    const store = {
      taken: new Set<string>(),
      wrong: 0,
      lockedUntil: 0,
      live: [] as string[],
      ended: new Set<string>(),
    };
    const calls: Call[] = [];
    let made = 0;
    for (const [at, { kind, who, slack }] of steps.entries()) {
      const now = at * 2_500;
      const note = (observation: Observation) => calls.push(call(now - slack, now + slack, observation, who % 3));
      if (kind === 0) {
        const key = `k${who % 4}`;
        note(spend(store.taken.has(key) && broken !== 'single_use' ? 'refused' : 'taken', key));
        store.taken.add(key);
      } else if (kind === 1) {
        if (now < store.lockedUntil && broken !== 'guesses') note(guess('locked'));
        else {
          note(guess('wrong'));
          store.wrong += 1;
          if (store.wrong % 5 === 0) store.lockedUntil = now + RULES.lockMs;
        }
      } else if (kind === 2) {
        const session = `s${made++}`;
        store.live.push(session);
        if (store.live.length > RULES.liveSessions && broken !== 'live_sessions') store.live.shift();
        note(create(session));
      } else if (kind === 3) {
        const [session] = store.live.splice(who % Math.max(1, store.live.length), 1);
        if (session !== undefined) {
          store.ended.add(session);
          note(end(session, 'ended'));
        }
      } else {
        const session = store.live[who] ?? `s${who % Math.max(1, made)}`;
        const lives = store.live.includes(session) || (broken === 'revoked' && store.ended.has(session));
        note(validate(session, lives ? 'yes' : 'no'));
      }
    }
    return calls;
  }

  const steps = (length: number) =>
    fc.array(fc.record({ kind: fc.nat(4), who: fc.nat(12), slack: fc.integer({ min: 1, max: 1_200 }) }), {
      minLength: length,
      maxLength: length,
    });

  it('of a store that keeps its promises are never complained of', () => {
    const keeps = fc.property(steps(150), (all) => {
      expect(found(play(all))).toEqual([]);
    });
    fc.assert(keeps, { numRuns: 100 });
  });

  it.each(['single_use', 'guesses', 'live_sessions', 'revoked'])('of a store that breaks %s are found out', (rule) => {
    let caught = 0;
    const runs = fc.sample(steps(400), { numRuns: 20, seed: 7 });
    for (const all of runs) {
      const rules = new Set<string>(found(play(all, rule)));
      if (rules.delete(rule)) caught += 1;
      // Sessions that do not end live on beside others, too.
      if (rule === 'revoked') rules.delete('live_sessions');
      expect([...rules]).toEqual([]);
    }
    expect(caught).toBeGreaterThan(15);
  });
});

it('records calls with the time around them', async () => {
  let now = 0;
  const history = new History(() => (now += 10));
  const outcome = await history.observe(2, async () => spend('taken'));
  expect(outcome.outcome).toBe('taken');
  expect(history.calls).toEqual([{ ...spend('taken'), sidecar: 2, startedAt: 10, endedAt: 20 }]);
});
