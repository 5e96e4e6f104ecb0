import * as z from 'zod/mini';
import { anyText, choiceSchema, durationSchema, listSchema } from './setting.ts';

export const ROLES = ['application', 'gateway', 'operator'] as const;
export const METHOD_NAMES = ['totp', 'sms', 'push', 'webauthn', 'backup_code'] as const;
export const SENSITIVITY_NAMES = ['low', 'normal', 'sensitive', 'critical'] as const;
export const PURPOSE_NAMES = ['action', 'login', 'factor_change', 'step_up'] as const;
export const REQUIREMENT_NAMES = ['none', 'session', 'mfa_recent', 'mfa_once', 'deny'] as const;

const few = <const V extends readonly [string, ...string[]]>(values: V) =>
  z.optional(listSchema(choiceSchema(values), `a list of ${values.join(', ')}`, false));
const glob = z.optional(
  anyText(512).check(z.minLength(1, { error: 'must not be empty; leave it out to match everything' })),
);
const httpMethod = z.string().check(z.regex(/^[A-Z]{1,20}$/, { error: 'must be an HTTP method in capitals' }));

/** One entry of `policy.rules`, as written. */
export const ruleSchema = z.strictObject({
  description: z.optional(anyText(200)),
  match: z.optional(
    z.strictObject({
      realm: glob,
      resource: glob,
      action: glob,
      host: glob,
      path: glob,
      http_methods: z.optional(listSchema(httpMethod, 'a list of HTTP methods', false)),
      sensitivity: few(SENSITIVITY_NAMES),
      purpose: few(PURPOSE_NAMES),
    }),
  ),
  sensitivity: z.optional(choiceSchema(SENSITIVITY_NAMES)),
  require: z.optional(choiceSchema(REQUIREMENT_NAMES)),
  max_age: z.optional(durationSchema('1s', '24h')),
  methods: few(METHOD_NAMES),
  ttl: z.optional(durationSchema('1s', '10m')),
  outage: z.optional(choiceSchema(['deny', 'session'])),
});
