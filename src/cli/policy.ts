import { type Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import { policyFrom } from '../config/policy.ts';
import { parseDuration } from '../config/units.ts';
import { SENSITIVITIES, type Sensitivity } from '../domain/action.ts';
import type { ChallengePurpose } from '../domain/challenge.ts';
import { METHODS, type Method } from '../domain/method.ts';
import type { PolicyDecision, PolicyRequest } from '../domain/policy.ts';
import { decide } from '../domain/policy-decision.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import { type SettingsOptions, sourcesOf, withSettings } from './settings-options.ts';

interface TestOptions extends SettingsOptions {
  readonly realm?: string;
  readonly resource: string;
  readonly action: string;
  readonly sensitivity?: Sensitivity;
  readonly purpose: ChallengePurpose;
  readonly enrolled: readonly Method[];
  readonly mfaAge?: number;
  readonly mfaBy: readonly Method[];
  readonly host?: string;
  readonly path?: string;
  readonly method?: string;
  readonly json?: boolean;
  readonly exitCode?: boolean;
}

const PURPOSES: readonly ChallengePurpose[] = ['action', 'login', 'factor_change', 'step_up'];

function methodList(text: string): readonly Method[] {
  const names = text.split(',').filter((name) => name !== '');
  const wrong = names.find((name) => !(METHODS as readonly string[]).includes(name));
  if (wrong !== undefined) throw new InvalidArgumentError(`${wrong} is not one of ${METHODS.join(', ')}.`);
  return names as Method[];
}

function age(text: string): number {
  const duration = parseDuration(text);
  if (duration === undefined) throw new InvalidArgumentError('Needs a duration, for instance 5m.');
  return duration;
}

function requestOf(options: TestOptions, defaultRealm: string): PolicyRequest {
  const {
    realm = defaultRealm,
    resource,
    action,
    purpose,
    enrolled,
    sensitivity,
    mfaAge,
    mfaBy,
    host,
    path,
    method,
  } = options;
  return {
    realm,
    resource,
    action,
    purpose,
    enrolled,
    // Only the age matters, so the clock is not asked.
    now: mfaAge ?? 0,
    ...(mfaAge === undefined ? {} : { mfaAt: 0, mfaBy }),
    ...(sensitivity === undefined ? {} : { sensitivity }),
    ...(host === undefined ? {} : { host }),
    ...(path === undefined ? {} : { path }),
    ...(method === undefined ? {} : { httpMethod: method }),
  };
}

function render(decision: PolicyDecision): string {
  const facts: (readonly [string, string])[] = [
    ['rule', decision.rule],
    ['sensitivity', decision.sensitivity],
  ];
  if (decision.verdict === 'allow') {
    facts.push(['reason', decision.reason], ['session', decision.needsSession ? 'needed' : 'not needed']);
  }
  if (decision.verdict === 'challenge') {
    facts.push(['answer by', decision.methods.join(', ') || 'nothing that is enrolled: MFA_NOT_ENROLLED']);
    facts.push(['would do', decision.acceptable.join(', ') || 'nothing'], ['lifetime', `${decision.ttlMs / 1000} s`]);
  }
  const lines = facts.map(([name, value]) => `  ${name.padEnd(12)} ${value}`);
  return [decision.verdict, ...lines, '', ...decision.explanation.map((line) => `  - ${line}`), ''].join('\n');
}

const EXAMPLES = `
Examples:
  $ sallyport policy test --action transfer.create --resource accounts/42 --sensitivity critical --enrolled totp
  $ sallyport policy test -c sallyport.yaml --host shop.example --path /admin/users --method DELETE
  $ sallyport policy test --sensitivity sensitive --mfa-age 5m --json

With --exit-code: 0 allow, ${EXIT.challenge} a challenge is needed, ${EXIT.deny} deny.`;

export function registerPolicy(program: Command, io: Io): void {
  const policy = program.command('policy').description('ask which rule decides a request, and why');
  withSettings(policy.command('test'))
    .description('decide one request by the settings and explain it')
    .option('--realm <name>', 'realm; the first configured one if left out')
    .option('--resource <resource>', 'what is acted upon, for instance accounts/42', '')
    .option('--action <action>', 'the verb, for instance transfer.create', '')
    .addOption(
      new Option('--sensitivity <level>', 'as the caller says; left out as by a caller that does not say').choices(
        SENSITIVITIES,
      ),
    )
    .addOption(new Option('--purpose <purpose>', 'what the challenge is for').choices(PURPOSES).default('action'))
    .option('--enrolled <methods>', `the person's methods, by commas: ${METHODS.join(',')}`, methodList, [])
    .option('--mfa-age <duration>', 'how long ago the session saw a proof, for instance 5m', age)
    .option('--mfa-by <methods>', 'with --mfa-age: what it was proven by', methodList, ['totp'])
    .option('--host <host>', 'host of an HTTP request')
    .option('--path <path>', 'path of an HTTP request')
    .option('--method <method>', 'method of an HTTP request')
    .option('--json', 'as JSON')
    .option('--exit-code', 'tell the verdict by the exit code too')
    .addHelpText('after', EXAMPLES)
    .action(async (options: TestOptions) => {
      const config = await loadConfig(sourcesOf(options, io));
      if (options.realm !== undefined && !config.realms.includes(options.realm))
        throw new CliError(
          EXIT.data,
          `the realm ${options.realm} is not served; realms are ${config.realms.join(', ')}`,
        );
      const request = requestOf(options, config.realms[0] ?? '');
      const decision = decide(policyFrom(config), request);
      io.out(options.json ? `${JSON.stringify(decision, undefined, 2)}\n` : render(decision));
      if (options.exitCode && decision.verdict !== 'allow') throw new CliError(EXIT[decision.verdict]);
    });
}
