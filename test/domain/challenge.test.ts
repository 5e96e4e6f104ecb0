import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Action, actionDigest } from '#src/domain/action.ts';
import {
  assuranceOf,
  type Challenge,
  type ChallengeState,
  canMove,
  isTerminal,
  receiptExpiry,
  shownTo,
  stateAt,
} from '#src/domain/challenge.ts';
import { type Budget, FRESH_BUDGET, isLocked, spendAttempt } from '#src/domain/failure-budget.ts';
import { offersFor } from '#src/domain/method-offer.ts';
import type { PolicyDecision } from '#src/domain/policy.ts';
import { BUDGET, factorOf } from '../support/challenge-world.ts';

const OPEN: readonly ChallengeState[] = ['PENDING', 'DELIVERED', 'SEEN'];
const ENDS: readonly ChallengeState[] = ['APPROVED', 'DENIED', 'EXPIRED', 'CANCELLED', 'LOCKED', 'SUPERSEDED'];

const challenge = (over: Partial<Challenge> = {}): Challenge => ({
  id: 'chl_x',
  realm: 'default',
  subject: 'ann',
  sessionId: '',
  openedBy: 'grpc',
  purpose: 'action',
  action: { resource: 'r', action: 'a', details: new Map() },
  actionDigest: 'sha-256:x',
  sensitivity: 'critical',
  audience: 'default',
  state: 'PENDING',
  offers: [],
  policyRule: '',
  createdAt: 1_000,
  expiresAt: 61_000,
  ...over,
});

describe('the states of a challenge', () => {
  it('go forward only, and never out of an end', () => {
    for (const from of [...OPEN, ...ENDS]) {
      for (const to of [...OPEN, ...ENDS]) {
        const forward = OPEN.includes(from) && (ENDS.includes(to) || OPEN.indexOf(to) > OPEN.indexOf(from));
        expect([from, to, canMove(from, to)]).toEqual([from, to, forward]);
      }
      expect(isTerminal(from)).toBe(ENDS.includes(from));
    }
  });

  it('are EXPIRED from the very instant of the deadline, if open', () => {
    expect(stateAt(challenge(), 60_999)).toBe('PENDING');
    expect(stateAt(challenge(), 61_000)).toBe('EXPIRED');
    expect(stateAt(challenge({ state: 'APPROVED' }), 99_000)).toBe('APPROVED');
  });

  it('hide a lock from those who may not know, and nothing else', () => {
    const locked = challenge({ state: 'LOCKED', settledAt: 5_000 });
    expect(shownTo(locked, true, 6_000)).toBe(locked);
    expect(shownTo(locked, false, 6_000)).toEqual(challenge());
    const delivery = {
      id: 'dlv_1',
      method: 'sms',
      factorId: 'f',
      status: 'SENT',
      reason: '',
      resendable: true,
      at: 1,
    } as const;
    expect(shownTo({ ...locked, chosenMethod: 'sms' }, false, 6_000).state).toBe('PENDING');
    expect(shownTo({ ...locked, chosenMethod: 'sms', delivery }, false, 6_000).state).toBe('DELIVERED');
    expect(shownTo(locked, false, 61_000)).toEqual(challenge({ state: 'EXPIRED', settledAt: 61_000 }));
    for (const state of ENDS.filter((end) => end !== 'LOCKED')) {
      const ended = challenge({ state });
      expect(shownTo(ended, false, 6_000)).toBe(ended);
    }
  });
});

describe('what an approval proves', () => {
  it('is the method that was used, the session’s earlier proof, or nothing', () => {
    expect(assuranceOf(challenge({ provenMethod: 'totp' }))).toEqual({ amr: ['otp', 'mfa'], acr: 'aal2' });
    expect(assuranceOf(challenge({ approvalReason: 'RECENT_MFA' }))).toEqual({ amr: ['mfa'], acr: 'aal2' });
    for (const approvalReason of ['MFA_DISABLED', 'NOT_REQUIRED', 'TRUSTED_DEVICE'] as const) {
      expect(assuranceOf(challenge({ approvalReason }))).toEqual({ amr: [], acr: 'aal1' });
    }
  });

  it('lapses on a whole second, never later than its life', () => {
    expect(receiptExpiry(1_999, 120_000)).toBe(121_000);
    expect(receiptExpiry(2_000, 120_000)).toBe(122_000);
  });
});

describe('the action digest', () => {
  const action = (over: Partial<Action> = {}): Action => ({
    resource: 'accounts/42',
    action: 'transfer.create',
    details: new Map([
      ['amount', '900 EUR'],
      ['to', 'Eve'],
    ]),
    ...over,
  });
  const digest = actionDigest('default', 'ann', action());

  it('is the same for the same action in any order of details', () => {
    const details = new Map([...action().details].reverse());
    expect(actionDigest('default', 'ann', action({ details }))).toBe(digest);
    expect(digest).toMatch(/^sha-256:[\w-]{43}$/);
  });

  it('changes with the amount, the payee, the Unicode form, the person, the realm, the verb and the resource', () => {
    const others = [
      actionDigest(
        'default',
        'ann',
        action({
          details: new Map([
            ['amount', '9000 EUR'],
            ['to', 'Eve'],
          ]),
        }),
      ),
      actionDigest(
        'default',
        'ann',
        action({
          details: new Map([
            ['amount', '900 EUR'],
            ['to', 'Eva'],
          ]),
        }),
      ),
      actionDigest('default', 'ann', action({ details: new Map([['amount', '900 EUR']]) })),
      actionDigest('default', 'ann', action({ resource: 'accounts/\u00e9' })),
      actionDigest('default', 'ann', action({ resource: 'accounts/e\u0301' })),
      actionDigest('default', 'ann', action({ action: 'transfer.delete' })),
      actionDigest('default', 'bob', action()),
      actionDigest('other', 'ann', action()),
      digest,
    ];
    expect(new Set(others).size).toBe(others.length);
  });

  it('changes with the name of a detail, not only with its value', () => {
    const named = (name: string) => actionDigest('default', 'ann', action({ details: new Map([[name, '900 EUR']]) }));
    expect(named('amount')).not.toBe(named('fee'));
  });

  it('moves no character from one part to its neighbour', () => {
    const make = (subject: string, resource: string, verb: string, details: [string, string][]) =>
      actionDigest('default', subject, { resource, action: verb, details: new Map(details) });
    const same = [
      make('ann', 'accounts', 'read', [['to', 'Eve']]),
      make('anna', 'ccounts', 'read', [['to', 'Eve']]),
      make('ann', 'accountsr', 'ead', [['to', 'Eve']]),
      make('ann', 'accounts', 'read', [['toE', 've']]),
      make('ann', 'accounts', 'read', [['t', 'oEve']]),
    ];
    expect(new Set(same).size).toBe(same.length);
  });

  it('never confuses where one part ends and the next begins', () => {
    const part = fc.string({ maxLength: 4 });
    const parts = fc.tuple(part, part, part, fc.array(fc.tuple(part, part), { maxLength: 3 }));
    fc.assert(
      fc.property(parts, parts, ([s1, r1, a1, d1], [s2, r2, a2, d2]) => {
        const make = (s: string, r: string, a: string, d: [string, string][]) =>
          actionDigest('x', s, { resource: r, action: a, details: new Map(d) });
        const canonical = (s: string, r: string, a: string, d: [string, string][]) =>
          JSON.stringify([s, r, a, [...new Map(d)].sort(([x], [y]) => (x < y ? -1 : 1))]);
        const same = canonical(s1, r1, a1, d1) === canonical(s2, r2, a2, d2);
        expect(make(s1, r1, a1, d1) === make(s2, r2, a2, d2)).toBe(same);
      }),
    );
  });
});

describe('the failure budget', () => {
  it('never allows more than its short limit between locks, nor its hard limit without a success', () => {
    const waits = fc.array(fc.nat({ max: 2_000_000 }), { minLength: 1, maxLength: 400 });
    fc.assert(
      fc.property(waits, (gaps) => {
        let budget: Budget = FRESH_BUDGET;
        let now = 0;
        let spent = 0;
        let sinceLock = 0;
        for (const gap of gaps) {
          now += gap;
          const result = spendAttempt(budget, BUDGET, now);
          if (result.outcome === 'locked') {
            expect(isLocked(budget, now)).toBe(true);
            continue;
          }
          expect(isLocked(budget, now)).toBe(false);
          spent += 1;
          sinceLock += 1;
          expect(result.attemptsLeft).toBe(Math.max(0, Math.min(5 - sinceLock, 100 - spent)));
          expect(result.locks).toBe(spent === 100 ? 'hard' : sinceLock === 5 ? 'short' : 'no');
          if (result.locks !== 'no') sinceLock = 0;
          budget = result.budget;
        }
        expect(spent).toBeLessThanOrEqual(100);
      }),
    );
  });
});

describe('the methods on offer', () => {
  const decision: Extract<PolicyDecision, { verdict: 'challenge' }> = {
    verdict: 'challenge',
    methods: ['webauthn', 'totp'],
    acceptable: ['webauthn', 'totp', 'push'],
    trustedDevice: false,
    ttlMs: 60_000,
    rule: 'rules[0]',
    sensitivity: 'critical',
    explanation: [],
  };
  const factors = [factorOf('totp'), factorOf('webauthn'), factorOf('webauthn', { id: 'fac_key2' })];
  const offered = (wanted: Parameters<typeof offersFor>[2], chosen?: Parameters<typeof offersFor>[3]) => {
    const offering = offersFor(decision, factors, wanted, chosen);
    return offering.outcome === 'offered' ? offering.offers.map(({ factorId }) => factorId) : offering;
  };

  it('are every factor the policy takes, in its order, and may be narrowed', () => {
    expect(offered([])).toEqual(['fac_webauthn', 'fac_key2', 'fac_totp']);
    expect(offered(['totp'])).toEqual(['fac_totp']);
    expect(offered(['totp', 'push'], 'totp')).toEqual(['fac_totp']);
  });

  it('are never more than the policy takes', () => {
    expect(offered(['sms'])).toEqual({ outcome: 'not_offered', method: 'sms' });
    expect(offered([], 'backup_code')).toEqual({ outcome: 'not_offered', method: 'backup_code' });
    expect(offered(['totp'], 'webauthn')).toEqual({ outcome: 'not_offered', method: 'webauthn' });
    expect(offered(['push'])).toEqual({ outcome: 'not_enrolled', wouldDo: ['push'] });
  });
});
