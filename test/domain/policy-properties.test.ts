import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { METHODS } from '#src/domain/method.ts';
import type { Policy, PolicyDecision, PolicyRequest, PolicyRule, Requirement } from '#src/domain/policy.ts';
import { decide } from '#src/domain/policy-decision.ts';

const REQUIREMENTS: readonly Requirement[] = ['none', 'session', 'mfa_recent', 'mfa_once', 'deny'];
const PURPOSES = ['action', 'login', 'factor_change', 'step_up'] as const;
const RANK = { allow: 0, challenge: 1, deny: 2 } as const;

const requirement = fc.constantFrom(...REQUIREMENTS);
const sensitivity = fc.constantFrom(...SENSITIVITIES);
const some = <T>(values: readonly T[], minLength = 0) => fc.shuffledSubarray([...values], { minLength });

const ageMs = fc.integer({ min: 1, max: 2_000 });
const ruleOf = (match: fc.Arbitrary<PolicyRule['match']>): fc.Arbitrary<PolicyRule> =>
  fc.record(
    {
      id: fc.constant('policy.rules[0]'),
      description: fc.constant(''),
      match,
      sensitivity,
      require: requirement,
      maxAgeMs: ageMs,
      methods: some(METHODS, 1),
    },
    { requiredKeys: ['id', 'description', 'match'] },
  );
/** Rules that look at resource and action only, so the sensitivity does not change which one matches. */
const plainRule = ruleOf(
  fc.record(
    { resource: fc.constantFrom('a/*', 'b/**', '**'), action: fc.constantFrom('x.*', '**') },
    { requiredKeys: [] },
  ),
);
const anyRule = ruleOf(
  fc.record(
    { resource: fc.constantFrom('a/*', '**'), sensitivity: some(SENSITIVITIES, 1), purpose: some(PURPOSES, 1) },
    { requiredKeys: [] },
  ),
);

/** Defaults that do not get looser with sensitivity; the settings refuse others. */
const defaults = fc
  .tuple(requirement, requirement, requirement, requirement)
  .map((asked) => asked.toSorted((a, b) => REQUIREMENTS.indexOf(a) - REQUIREMENTS.indexOf(b)))
  .map((asked) => {
    const at = (index: number) => ({ require: asked[index] ?? 'deny', maxAgeMs: 1_000 });
    return { low: at(0), normal: at(1), sensitive: at(2), critical: at(3) };
  });

const policyWith = (rule: fc.Arbitrary<PolicyRule>): fc.Arbitrary<Policy> =>
  fc.record({
    mfaEnabled: fc.constant(true),
    methods: some(METHODS, 1),
    profile: fc.constantFrom('default' as const, 'nist' as const),
    rules: fc.array(rule, { maxLength: 4 }),
    defaults,
    criticalMethods: some(['totp', 'push', 'webauthn'] as const, 1),
    smsForCritical: fc.boolean(),
    ttlMs: fc.constant({ action: 1, login: 2, factor_change: 3, step_up: 4 }),
  });

const request: fc.Arbitrary<PolicyRequest> = fc.record(
  {
    realm: fc.constant('default'),
    resource: fc.constantFrom('a/1', 'b/1/2', 'c'),
    action: fc.constantFrom('x.y', 'z'),
    purpose: fc.constantFrom(...PURPOSES),
    enrolled: some(METHODS),
    now: fc.constant(10_000),
    mfaAt: fc.integer({ min: 8_000, max: 10_500 }),
    sensitivity,
  },
  { requiredKeys: ['realm', 'resource', 'action', 'purpose', 'enrolled', 'now'] },
);

/** Whether `b` gives away nothing that `a` does not. */
function noLooser(a: PolicyDecision, b: PolicyDecision): boolean {
  if (RANK[b.verdict] !== RANK[a.verdict]) return RANK[b.verdict] > RANK[a.verdict];
  if (a.verdict === 'challenge' && b.verdict === 'challenge')
    return b.acceptable.every((method) => a.acceptable.includes(method));
  if (a.verdict === 'allow' && b.verdict === 'allow') return b.needsSession || !a.needsSession;
  return true;
}

describe('decide, over any policy and request', () => {
  it('never gets looser when the caller gives a higher sensitivity', () => {
    fc.assert(
      fc.property(policyWith(plainRule), request, (policy, one) => {
        const decisions = SENSITIVITIES.map((level) => decide(policy, { ...one, sensitivity: level }));
        for (const [index, decision] of decisions.entries()) {
          const lower = decisions[index - 1];
          if (lower) expect(noLooser(lower, decision)).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('is never looser without a sensitivity than with the highest, unless the rule gives one', () => {
    fc.assert(
      fc.property(policyWith(plainRule), request, (policy, { sensitivity: _said, ...one }) => {
        const bare = { ...policy, rules: policy.rules.map(({ sensitivity: _raised, ...rule }) => rule) };
        const asked = { ...one, purpose: 'action' as const };
        const { explanation: _a, ...silent } = decide(bare, asked);
        const { explanation: _b, ...critical } = decide(bare, { ...asked, sensitivity: 'critical' });
        expect(silent).toEqual(critical);
      }),
      { numRuns: 500 },
    );
  });

  it('lets no rule make critical looser than its default unless the rule names critical', () => {
    fc.assert(
      fc.property(policyWith(anyRule), request, (policy, one) => {
        const asked = { ...one, sensitivity: 'critical' as const };
        const decision = decide(policy, asked);
        const named = policy.rules.find(
          (rule) => rule.id === decision.rule && rule.match.sensitivity?.includes('critical'),
        );
        fc.pre(named === undefined);
        expect(noLooser(decide({ ...policy, rules: [] }, asked), decision)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  it('never takes a backup code on critical, nor SMS in the nist profile or beside something stronger', () => {
    fc.assert(
      fc.property(policyWith(anyRule), request, (policy, one) => {
        const decision = decide(policy, { ...one, sensitivity: 'critical' });
        if (decision.verdict !== 'challenge') return;
        expect(decision.acceptable).not.toContain('backup_code');
        const stronger = one.enrolled.some(
          (m) => ['totp', 'push', 'webauthn'].includes(m) && policy.methods.includes(m),
        );
        if (policy.profile === 'nist' || stronger || !policy.smsForCritical)
          expect(decision.acceptable).not.toContain('sms');
      }),
      { numRuns: 1_000 },
    );
  });

  it('offers only enrolled and switched-on methods, in the order of preference, and never fewer than would do', () => {
    fc.assert(
      fc.property(policyWith(anyRule), request, (policy, one) => {
        const decision = decide(policy, one);
        if (decision.verdict !== 'challenge') return;
        expect(decision.acceptable).toEqual(policy.methods.filter((method) => decision.acceptable.includes(method)));
        expect(decision.methods).toEqual(decision.acceptable.filter((method) => one.enrolled.includes(method)));
      }),
      { numRuns: 500 },
    );
  });

  it('never raises a session or changes factors without a proof', () => {
    fc.assert(
      fc.property(
        policyWith(anyRule),
        request,
        fc.constantFrom('step_up' as const, 'factor_change' as const),
        (policy, one, purpose) => {
          expect(decide(policy, { ...one, purpose }).verdict).not.toBe('allow');
        },
      ),
      { numRuns: 500 },
    );
  });

  it('does not look at anything but its arguments', () => {
    fc.assert(
      fc.property(policyWith(anyRule), request, (policy, one) => {
        expect(decide(structuredClone(policy), structuredClone(one))).toEqual(decide(policy, one));
      }),
      { numRuns: 100 },
    );
  });
});
