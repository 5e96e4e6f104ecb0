import type { Policy, PolicyRule, Requirement } from '../domain/policy.ts';
import type { Config } from './schema.ts';

/** The record with undefined entries left out. */
function present<T extends object>(record: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

function ruleFrom(rule: Config['policy']['rules'][number], index: number, maxAgeMs: number): PolicyRule {
  const { http_methods: httpMethods, ...match } = rule.match ?? {};
  return {
    id: `policy.rules[${index}]`,
    description: rule.description ?? '',
    match: present({ ...match, httpMethods }) as PolicyRule['match'],
    ...(present({
      sensitivity: rule.sensitivity,
      require: rule.require,
      methods: rule.methods,
      ttlMs: rule.ttl,
      outage: rule.outage,
    }) as Omit<PolicyRule, 'id' | 'description' | 'match'>),
    maxAgeMs: rule.max_age ?? maxAgeMs,
  };
}

/** The policy as the domain decides by it. */
export function policyFrom(config: Config): Policy {
  const { policy, mfa, challenge, profile } = config;
  const byDefault = (require: Requirement) => ({ require, maxAgeMs: policy.max_age });
  const { low, normal, sensitive, critical } = policy.defaults;
  return {
    mfaEnabled: mfa.enabled,
    methods: mfa.methods,
    profile,
    rules: policy.rules.map((rule, index) => ruleFrom(rule, index, policy.max_age)),
    defaults: {
      low: byDefault(low),
      normal: byDefault(normal),
      sensitive: byDefault(sensitive),
      critical: byDefault(critical),
    },
    criticalMethods: policy.critical_methods,
    smsForCritical: policy.sms_for_critical && profile !== 'nist',
    ttlMs: {
      action: challenge.ttl.action ?? mfa.timeout,
      login: challenge.ttl.login ?? mfa.timeout,
      factor_change: challenge.ttl.factor_change ?? mfa.timeout,
      step_up: challenge.ttl.step_up ?? mfa.timeout,
    },
  };
}
