/**
 * Judges what many clients saw of several sidecars. Each call is an interval on one monotonic clock; what it did happened at
 * some instant within. Only what no order of those instants can explain is a violation, so a finding is never a matter of
 * luck. Calls whose outcome nobody knows may or may not have taken effect.
 */

export type Observation =
  /** Takes something that there is once: a receipt, a code, a step, the approval of a challenge. */
  | { readonly kind: 'spend'; readonly key: string; readonly outcome: 'taken' | 'refused' | 'unknown' }
  /** `wrong` and `right` were evaluated; `locked` was not. */
  | {
      readonly kind: 'guess';
      readonly subject: string;
      readonly outcome: 'wrong' | 'right' | 'locked' | 'refused' | 'unknown';
    }
  /** An operator gives the budget back. */
  | { readonly kind: 'unlock'; readonly subject: string; readonly outcome: 'done' | 'unknown' }
  | {
      readonly kind: 'create';
      readonly subject: string;
      /** '' when there is none. */
      readonly session: string;
      readonly outcome: 'created' | 'refused' | 'unknown';
    }
  | { readonly kind: 'end'; readonly session: string; readonly outcome: 'ended' | 'refused' | 'unknown' }
  | { readonly kind: 'validate'; readonly session: string; readonly outcome: 'yes' | 'no' | 'unknown' };

export type Call = Observation & {
  readonly sidecar: number;
  /** Milliseconds, monotonic: before the request left, and after the answer was there. */
  readonly startedAt: number;
  readonly endedAt: number;
};

type CallOf<K extends Call['kind']> = Extract<Call, { readonly kind: K }>;

export interface Rules {
  /** Evaluated guesses before the lock, and how long that lasts. */
  readonly guesses: number;
  readonly lockMs: number;
  readonly liveSessions: number;
  /** How long after an acknowledged end a validation may still begin and say yes. */
  readonly staleMs: number;
}

export interface Violation {
  readonly rule: 'single_use' | 'guesses' | 'live_sessions' | 'revoked';
  readonly what: string;
  readonly calls: readonly Call[];
}

/** Collects calls as they end; for clients that run at the same time in one process. */
export class History {
  readonly calls: Call[] = [];
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Runs one call and keeps what it observed. `work` turns errors into outcomes; `unknown` where it may have taken effect. */
  async observe<O extends Observation>(sidecar: number, work: () => Promise<O>): Promise<O> {
    const startedAt = this.#now();
    const observation = await work();
    this.calls.push({ ...observation, sidecar, startedAt, endedAt: this.#now() });
    return observation;
  }
}

/** Everything in the history that the rules forbid; empty when they were kept. */
export function violations(calls: readonly Call[], rules: Rules): readonly Violation[] {
  return [
    ...spentTwice(calls),
    ...guessedTooOften(calls, rules),
    ...tooManyLive(calls, rules),
    ...validAfterEnd(calls, rules),
  ];
}

function of<K extends Call['kind']>(calls: readonly Call[], kind: K): readonly CallOf<K>[] {
  return calls.filter((call): call is CallOf<K> => call.kind === kind);
}

function spentTwice(calls: readonly Call[]): readonly Violation[] {
  const taken = of(calls, 'spend').filter(({ outcome }) => outcome === 'taken');
  return [...Map.groupBy(taken, ({ key }) => key)]
    .filter(([, same]) => same.length > 1)
    .map(([key, same]) => ({ rule: 'single_use', what: `${key} was taken ${same.length} times`, calls: same }));
}

/**
 * One guess more than the budget has, all evaluated within less than the lock lasts, and nothing in between that could have
 * given the budget back: then a lock was passed by.
 */
function guessedTooOften(calls: readonly Call[], { guesses, lockMs }: Rules): readonly Violation[] {
  const found: Violation[] = [];
  const resets = [
    ...of(calls, 'guess').filter(({ outcome }) => outcome === 'right' || outcome === 'unknown'),
    ...of(calls, 'unlock'),
  ];
  for (const [subject, all] of Map.groupBy(of(calls, 'guess'), (call) => call.subject)) {
    const wrong = all.filter(({ outcome }) => outcome === 'wrong').sort((a, b) => a.startedAt - b.startedAt);
    const given = resets.filter((reset) => reset.subject === subject);
    for (const first of wrong) {
      const window = wrong
        .filter((call) => call.startedAt >= first.startedAt && call.endedAt < first.startedAt + lockMs)
        .sort((a, b) => a.endedAt - b.endedAt)
        .slice(0, guesses + 1);
      const until = window.at(-1)?.endedAt ?? 0;
      const isReset = given.some((reset) => reset.startedAt <= until && reset.endedAt >= first.startedAt);
      if (window.length <= guesses || isReset) continue;
      const within = Math.round(until - first.startedAt);
      const what = `${subject}: ${window.length} guesses were evaluated within ${within} ms`;
      found.push({ rule: 'guesses', what, calls: window });
      break;
    }
  }
  return found;
}

/** A session lives at least from the answer to its creation to the last yes, less the time that a yes may be late. */
function tooManyLive(calls: readonly Call[], { liveSessions, staleMs }: Rules): readonly Violation[] {
  const yes = of(calls, 'validate').filter(({ outcome }) => outcome === 'yes');
  const lastYes = new Map<string, CallOf<'validate'>>();
  for (const call of yes) {
    if (call.startedAt > (lastYes.get(call.session)?.startedAt ?? Number.NEGATIVE_INFINITY)) {
      lastYes.set(call.session, call);
    }
  }
  const lives = of(calls, 'create').flatMap((create) => {
    const last = lastYes.get(create.session);
    if (create.outcome !== 'created' || !last || last.startedAt - staleMs < create.endedAt) return [];
    return [{ create, last, from: create.endedAt, to: last.startedAt - staleMs }];
  });
  const found: Violation[] = [];
  for (const [subject, same] of Map.groupBy(lives, ({ create }) => create.subject)) {
    // The most live at the moment when one of them begins.
    for (const { from } of same) {
      const together = same.filter((life) => life.from <= from && life.to >= from);
      if (together.length <= liveSessions) continue;
      const what = `${subject}: ${together.length} sessions lived at once`;
      found.push({ rule: 'live_sessions', what, calls: together.flatMap(({ create, last }) => [create, last]) });
      break;
    }
  }
  return found;
}

function validAfterEnd(calls: readonly Call[], { staleMs }: Rules): readonly Violation[] {
  const firstEnd = new Map<string, CallOf<'end'>>();
  for (const end of of(calls, 'end')) {
    const known = firstEnd.get(end.session);
    if (end.outcome === 'ended' && end.endedAt < (known?.endedAt ?? Number.POSITIVE_INFINITY)) {
      firstEnd.set(end.session, end);
    }
  }
  return of(calls, 'validate').flatMap((validate): Violation[] => {
    const end = firstEnd.get(validate.session);
    const late = validate.startedAt - (end?.endedAt ?? Number.POSITIVE_INFINITY);
    if (!end || validate.outcome !== 'yes' || late <= staleMs) return [];
    const what = `${validate.session}: sidecar ${validate.sidecar} says yes to a validation that began ${Math.round(late)} ms after sidecar ${end.sidecar} had acknowledged the end`;
    return [{ rule: 'revoked', what, calls: [end, validate] }];
  });
}
