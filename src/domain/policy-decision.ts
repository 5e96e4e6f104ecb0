import { SENSITIVITIES, type Sensitivity } from './action.ts';
import type { Method } from './method.ts';
import type { Policy, PolicyDecision, PolicyRequest, PolicyRule, Requirement } from './policy.ts';
import { findRule } from './policy-match.ts';
import type { DurationMs } from './time.ts';

const REQUIREMENTS: readonly Requirement[] = ['none', 'session', 'mfa_recent', 'mfa_once', 'deny'];
const STRONG: readonly Method[] = ['totp', 'push', 'webauthn'];

function stricter(a: Requirement, b: Requirement): Requirement {
  return REQUIREMENTS.indexOf(a) >= REQUIREMENTS.indexOf(b) ? a : b;
}

/** What the caller says, raised by the rule. Where the caller does not say, the rule's word counts, then the safe reading. */
function sensitivityOf(request: PolicyRequest, rule: PolicyRule | undefined, notes: string[]): Sensitivity {
  const said = request.sensitivity;
  if (said === undefined) {
    const fallback: Sensitivity = request.purpose === 'action' ? 'critical' : 'sensitive';
    const read = rule?.sensitivity ?? fallback;
    notes.push(
      rule?.sensitivity === undefined
        ? `sensitivity ${read}: the caller did not say, and that counts as ${read} for the purpose ${request.purpose}`
        : `sensitivity ${read}: the caller did not say, ${rule.id} does`,
    );
    return read;
  }
  if (rule?.sensitivity !== undefined && SENSITIVITIES.indexOf(rule.sensitivity) > SENSITIVITIES.indexOf(said)) {
    notes.push(`sensitivity ${rule.sensitivity}: the caller said ${said}, ${rule.id} raises it`);
    return rule.sensitivity;
  }
  notes.push(`sensitivity ${said}: as the caller says`);
  return said;
}

/** What is needed, and no less than the floor that the sensitivity and the purpose set. */
function requirementOf(
  policy: Policy,
  request: PolicyRequest,
  rule: PolicyRule | undefined,
  sensitivity: Sensitivity,
  notes: string[],
): { readonly require: Requirement; readonly maxAgeMs: DurationMs } {
  const byDefault = policy.defaults[sensitivity];
  const asked = rule?.require ?? byDefault.require;
  const source = rule?.require === undefined ? `policy.defaults.${sensitivity}` : rule.id;
  // Only a rule that names critical may be looser than its default, in age too.
  const held = sensitivity === 'critical' && !rule?.match.sensitivity?.includes('critical');
  const oldest = byDefault.maxAgeMs ?? 0;
  const maxAgeMs = held ? Math.min(rule?.maxAgeMs ?? oldest, oldest) : (rule?.maxAgeMs ?? oldest);
  notes.push(`${source} asks for ${asked}${asked === 'mfa_recent' ? ` (at most ${maxAgeMs / 1000} s old)` : ''}`);

  let require = asked;
  if (held) {
    require = stricter(require, byDefault.require);
    if (require !== asked)
      notes.push(
        `needs ${require}: only a rule that names critical in match.sensitivity goes below policy.defaults.critical`,
      );
  }
  const named = !held && rule?.require !== undefined && rule.match.purpose?.includes('login');
  const proves = request.purpose !== 'action' && !(request.purpose === 'login' && named);
  if (proves && stricter(require, 'mfa_once') !== require) {
    require = 'mfa_once';
    notes.push(`needs ${require}: the purpose ${request.purpose} is a proof by nature`);
  }
  return { require, maxAgeMs };
}

/** The methods that would do for this person, in the policy's order of preference. */
function acceptableMethods(
  policy: Policy,
  request: PolicyRequest,
  rule: PolicyRule | undefined,
  sensitivity: Sensitivity,
  notes: string[],
): readonly Method[] {
  const held = request.held ?? request.enrolled;
  const hasStronger = held.some((method) => STRONG.includes(method) && policy.methods.includes(method));
  const refusal = (method: Method): string | undefined => {
    if (rule?.methods !== undefined && !rule.methods.includes(method)) return `${rule.id} does not name it`;
    if (sensitivity === 'critical') {
      if (method === 'backup_code') return 'a backup code is never enough for critical';
      if (method === 'sms') {
        if (policy.profile === 'nist') return 'the nist profile forbids it for critical';
        if (!policy.smsForCritical) return 'policy.sms_for_critical is off';
        return hasStronger ? 'the person has something stronger' : undefined;
      }
      return policy.criticalMethods.includes(method) ? undefined : 'policy.critical_methods does not name it';
    }
    if (method !== 'backup_code' || rule?.methods !== undefined) return undefined;
    // Not for changing factors either: a change needs a proof at least as strong, which a code is not.
    return request.purpose === 'login' ? undefined : 'backup codes are for getting back in';
  };
  const acceptable: Method[] = [];
  for (const method of policy.methods) {
    const why = refusal(method);
    if (why === undefined) acceptable.push(method);
    else notes.push(`${method} does not do: ${why}`);
  }
  return acceptable;
}

/** Where only some methods do, a recent proof by another is none: nobody gets around them by proving something else first. */
function wasProvenByWhatDoes(
  policy: Policy,
  request: PolicyRequest,
  rule: PolicyRule | undefined,
  { sensitivity }: { readonly sensitivity: Sensitivity },
  notes: string[],
): boolean {
  if (rule?.methods === undefined && sensitivity !== 'critical') return true;
  const by = request.mfaBy ?? [];
  const acceptable = acceptableMethods(policy, request, rule, sensitivity, []);
  const does = by.length > 0 && by.every((method) => acceptable.includes(method));
  if (!does) notes.push(`the session was proven by ${by.join(', ') || 'nothing known'}, and not all of that does here`);
  return does;
}

/** A device says who was there once, not who is there now: it spares the second proof of a login and nothing else. */
function trustsDevices(
  request: PolicyRequest,
  rule: PolicyRule | undefined,
  sensitivity: Sensitivity,
  notes: string[],
): boolean {
  if (request.purpose !== 'login') return false;
  const why =
    sensitivity === 'critical'
      ? 'a trusted device is never enough for critical'
      : rule?.methods === undefined
        ? ''
        : `${rule.id} names the methods that do`;
  notes.push(why === '' ? 'a trusted device does, too' : `a trusted device does not do: ${why}`);
  return why === '';
}

/**
 * What the policy asks for. The first rule that matches decides, then the default of the sensitivity. Rules can only
 * raise the sensitivity that the caller gives. On critical actions a rule can go below the default only when it names
 * `critical` in its own match; raising a session and changing factors always take a proof, signing in does unless a rule
 * names that purpose. A host or path that cannot be read in exactly one way is denied.
 */
export function decide(policy: Policy, request: PolicyRequest): PolicyDecision {
  const notes: string[] = [];
  const { rule, target } = findRule(policy.rules, request, notes);
  if (target === undefined) return { verdict: 'deny', rule: 'policy', sensitivity: 'critical', explanation: notes };

  const sensitivity = sensitivityOf(request, rule, notes);
  const decided = { rule: rule?.id ?? `policy.defaults.${sensitivity}`, sensitivity, explanation: notes };
  const { require, maxAgeMs } = requirementOf(policy, request, rule, sensitivity, notes);
  if (require === 'deny') return { verdict: 'deny', ...decided };

  const needsSession = require !== 'none';
  // With MFA off a stolen session could otherwise take the person's factors away for when it is on again.
  const guardsFactors = request.purpose === 'factor_change' && (request.held ?? request.enrolled).length > 0;
  if (!policy.mfaEnabled && !guardsFactors) {
    notes.push('mfa.enabled is off: allowed without a proof');
    return { verdict: 'allow', reason: 'MFA_DISABLED', needsSession, ...decided, rule: 'mfa.enabled' };
  }
  if (require === 'none' || require === 'session')
    return { verdict: 'allow', reason: 'NOT_REQUIRED', needsSession, ...decided };
  if (require === 'mfa_recent') {
    // A proof from the future is a clock that was set back: not to be trusted.
    const age = request.mfaAt === undefined ? undefined : request.now - request.mfaAt;
    if (age !== undefined && age >= 0 && age < maxAgeMs && wasProvenByWhatDoes(policy, request, rule, decided, notes)) {
      notes.push(`the last proof is ${Math.floor(age / 1000)} s old: fresh enough`);
      return { verdict: 'allow', reason: 'RECENT_MFA', needsSession, ...decided };
    }
    notes.push(
      age === undefined ? 'the session has seen no proof' : `the last proof is ${Math.floor(age / 1000)} s old`,
    );
  }
  const acceptable = acceptableMethods(policy, request, rule, sensitivity, notes);
  const methods = acceptable.filter((method) => request.enrolled.includes(method));
  notes.push(
    methods.length > 0
      ? `the person can answer by ${methods.join(', ')}`
      : `the person has none of ${acceptable.join(', ') || 'the methods, since none would do'}`,
  );
  const trustedDevice = trustsDevices(request, rule, sensitivity, notes);
  return {
    verdict: 'challenge',
    methods,
    acceptable,
    trustedDevice,
    ttlMs: rule?.ttlMs ?? policy.ttlMs[request.purpose],
    ...decided,
  };
}
