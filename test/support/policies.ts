import type { Policy, PolicyRequest, PolicyRule } from '#src/domain/policy.ts';

/** The policy as shipped, with every method switched on. */
export function shippedPolicy(changes: Partial<Policy> = {}): Policy {
  const maxAgeMs = 900_000;
  return {
    mfaEnabled: true,
    methods: ['webauthn', 'totp', 'push', 'sms', 'backup_code'],
    profile: 'default',
    rules: [],
    defaults: {
      low: { require: 'none', maxAgeMs },
      normal: { require: 'session', maxAgeMs },
      sensitive: { require: 'mfa_recent', maxAgeMs },
      critical: { require: 'mfa_once', maxAgeMs },
    },
    criticalMethods: ['totp', 'push', 'webauthn'],
    smsForCritical: true,
    ttlMs: { action: 60_000, login: 120_000, factor_change: 180_000, step_up: 60_000 },
    ...changes,
  };
}

/** A rule in place `index` that matches everything until told otherwise. */
export function policyRule(changes: Partial<PolicyRule> = {}, index = 0): PolicyRule {
  return { id: `policy.rules[${index}]`, description: '', match: {}, ...changes };
}

export function policyRequest(changes: Partial<PolicyRequest> = {}): PolicyRequest {
  return {
    realm: 'default',
    resource: 'accounts/42',
    action: 'transfer.create',
    purpose: 'action',
    enrolled: ['totp', 'backup_code'],
    mfaBy: ['totp'],
    now: 10_000_000,
    ...changes,
  };
}
