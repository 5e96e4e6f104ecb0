import { SENSITIVITIES } from '../domain/action.ts';
import { matchGlob } from '../domain/glob.ts';
import { checkFactors } from './factor-checks.ts';
import { isLoopback } from './loopback.ts';
import type { CrossProblem } from './problem.ts';
import type { Config } from './schema.ts';
import type { Address } from './setting.ts';
import { checkSharedState } from './shared-state.ts';

/** Rules between settings. */

const STRICTNESS = ['none', 'session', 'mfa_recent', 'mfa_once', 'deny'];

function listenerProblems({ listeners }: Config): CrossProblem[] {
  const problems: CrossProblem[] = [];
  const taken = new Map<string, string>();
  const { grpc, http, admin } = listeners;
  const all: (readonly [string, Address | undefined])[] = [
    ['grpc', grpc.address],
    ['http', http.address],
    ['public', listeners.public.address],
    ['admin', admin.address],
  ];
  for (const [name, address] of all) {
    if (!address) continue;
    const path = ['listeners', name, 'address'];
    // What the public listener has to be protected by is looked at with the rest of it.
    if (name !== 'admin' && name !== 'public' && !isLoopback(address.host) && !listeners.allow_insecure)
      problems.push({
        path,
        what: `is beyond loopback without TLS; use 127.0.0.1, or set listeners.allow_insecure if something in front protects it`,
      });
    if (address.port === 0) continue;
    const key = `${address.host}:${address.port}`;
    const other = taken.get(String(address.port));
    if (
      other !== undefined &&
      (other.startsWith(key) || /^(0\.0\.0\.0|::):/.test(key) || /^(0\.0\.0\.0|::):/.test(other))
    )
      problems.push({ path, what: `needs port ${address.port}, which another listener has (${other})` });
    else taken.set(String(address.port), key);
  }
  if (!grpc.address && grpc.socket === '' && !http.address)
    problems.push({ path: ['listeners'], what: 'are all off: give grpc.address, grpc.socket or http.address' });
  return problems;
}

function ruleProblems(config: Config): CrossProblem[] {
  const problems: CrossProblem[] = [];
  const { policy, mfa, realms } = config;
  for (const [index, rule] of policy.rules.entries()) {
    const at = (...rest: string[]) => ['policy', 'rules', index, ...rest];
    if (rule.max_age !== undefined && rule.require !== undefined && rule.require !== 'mfa_recent')
      problems.push({ path: at('max_age'), what: `belongs to \`require: mfa_recent\`, not to ${rule.require}` });
    if (rule.methods && !rule.methods.some((method) => mfa.methods.includes(method)))
      problems.push({ path: at('methods'), what: 'names only methods that mfa.methods switches off' });
    const realm = rule.match?.realm;
    if (realm !== undefined && !realms.some((served) => matchGlob(realm, served, '/')))
      problems.push({
        path: at('match', 'realm'),
        what: `matches none of the realms that are served (${realms.join(', ')})`,
      });
    for (const name of ['resource', 'action', 'host', 'path', 'realm'] as const) {
      const segments = rule.match?.[name]?.split(name === 'host' || name === 'action' ? '.' : '/') ?? [];
      if (segments.some((segment) => segment.includes('**') && segment !== '**'))
        problems.push({ path: at('match', name), what: 'has `**` inside a segment; it stands for whole segments' });
    }
    if (rule.match?.path !== undefined && !rule.match.path.startsWith('/'))
      problems.push({ path: at('match', 'path'), what: 'must begin with /' });
  }
  return problems;
}

function loosening(config: Config): string[] {
  const notices: string[] = [];
  const { mfa, policy, listeners, environment } = config;
  if (!mfa.enabled) notices.push('mfa.enabled is off: every challenge is approved without a proof (MFA_DISABLED)');
  if (STRICTNESS.indexOf(policy.defaults.critical) < STRICTNESS.indexOf('mfa_once'))
    notices.push(
      `policy.defaults.critical is ${policy.defaults.critical}: critical actions do not need MFA once per action`,
    );
  if (listeners.allow_insecure) notices.push('listeners.allow_insecure is on: whoever reaches a listener is trusted');
  if (mfa.enabled && mfa.methods.every((method) => method === 'backup_code'))
    notices.push('mfa.methods names nothing that a person can enrol: whatever needs MFA is refused');
  const catchAll = policy.rules.findIndex((rule) => Object.keys(rule.match ?? {}).length === 0);
  if (catchAll >= 0 && catchAll < policy.rules.length - 1)
    notices.push(`policy.rules[${catchAll}] matches everything; the rules after it are never reached`);
  if (policy.rules.some((rule) => rule.outage !== undefined))
    notices.push('policy.rules set `outage`, but nothing reads it in this release');
  if (environment === 'development' && listeners.allow_insecure) notices.push('environment is development');
  return notices;
}

/** Checks what no single setting can. `isSet` tells whether a key has more than its default. */
export function crossCheck(
  config: Config,
  isSet: (key: string) => boolean,
): { readonly problems: readonly CrossProblem[]; readonly notices: readonly string[] } {
  const shared = checkSharedState(config);
  const factors = checkFactors(config);
  const problems = [...listenerProblems(config), ...ruleProblems(config), ...shared.problems, ...factors.problems];
  const { budget, sessions, policy, profile, environment, keys, operator } = config;
  const made = [
    ['keys.file', keys.file, 'a key'],
    ['operator.token_file', operator.token_file, 'a token'],
  ] as const;
  for (const [key, file, what] of made) {
    if (environment === 'production' && file === '')
      problems.push({
        path: key.split('.'),
        what: `must be given in production: ${what} made on first start lies beside the data`,
      });
  }
  if (budget.hard_attempts <= budget.short_attempts)
    problems.push({
      path: ['budget', 'hard_attempts'],
      what: `must be above budget.short_attempts (${budget.short_attempts})`,
    });
  if (sessions.idle > sessions.absolute)
    problems.push({ path: ['sessions', 'idle'], what: 'must not be longer than sessions.absolute' });
  if (sessions.touch_interval >= sessions.idle)
    problems.push({ path: ['sessions', 'touch_interval'], what: 'must be shorter than sessions.idle' });
  if (profile === 'nist' && policy.sms_for_critical && isSet('policy.sms_for_critical'))
    problems.push({ path: ['policy', 'sms_for_critical'], what: 'cannot be on in the nist profile' });
  for (const [index, sensitivity] of SENSITIVITIES.entries()) {
    const lower = SENSITIVITIES[index - 1];
    if (lower === undefined) continue;
    if (STRICTNESS.indexOf(policy.defaults[sensitivity]) < STRICTNESS.indexOf(policy.defaults[lower]))
      problems.push({
        path: ['policy', 'defaults', sensitivity],
        what: `is looser than policy.defaults.${lower} (${policy.defaults[lower]})`,
      });
  }
  return { problems, notices: [...loosening(config), ...factors.notices, ...shared.notices] };
}
