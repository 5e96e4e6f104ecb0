import * as z from 'zod/mini';
import { DEFAULT_REACTIONS, type RiskSignal } from '../domain/risk.ts';
import { notices, privacy, push, sms, totp, trustedDevices, twilio, webauthn } from './factor-settings.ts';
import { METHOD_NAMES, REQUIREMENT_NAMES, ROLES, ruleSchema } from './rule-schema.ts';
import type { Secret } from './secret.ts';
import {
  address,
  choice,
  choices,
  duration,
  fileMode,
  hostAndPort,
  list,
  maybeDuration,
  secret,
  section,
  size,
  slug,
  text,
  toggle,
  whole,
} from './setting.ts';

/**
 * Every setting there is: its key, form, default and meaning. File, environment, flags, the example file, the reference
 * page and the JSON Schema all come from here.
 */

const REACTIONS = ['ignore', 'audit', 'step_up', 'end'] as const;
const listening = (what: string, fallback: string) => address(`Address of ${what}; "" switches it off.`, fallback);
const ofListener = 'Roles that callers of this listener hold.';

const listeners = section('Where the sidecar listens.', {
  grpc: section('Native gRPC, for the application beside the sidecar.', {
    address: listening('the gRPC listener', '127.0.0.1:50051'),
    socket: text('Path of a Unix socket that serves the same; "" for none.', ''),
    socket_mode: fileMode('File mode of the socket; who may open it is who may call.', '0660'),
    roles: choices(ofListener, ROLES, ['application', 'gateway']),
  }),
  http: section('Connect, gRPC-Web and plain HTTP.', {
    address: listening('the HTTP listener', '127.0.0.1:8080'),
    roles: choices(ofListener, ROLES, ['application', 'gateway']),
  }),
  public: section('What browsers of end users reach.', {
    address: listening('the public listener: push approval, provider callbacks', ''),
    url: text(
      'How browsers reach it from outside, such as https://auth.example.com; needed by push and callbacks.',
      '',
      {
        pattern: /^(?:|https?:\/\/[A-Za-z0-9.:[\]-]+)$/,
        expects: 'an origin, such as https://auth.example.com',
      },
    ),
    trust_proxy: whole('Proxies in front of it whose X-Forwarded-For entries are believed.', 0, [0, 10]),
    app_name: text('Name of your service on the pages and in notifications of browsers.', 'Sallyport', {
      pattern: /^[^\p{Cc}]{1,32}$/u,
      expects: '1 to 32 characters',
    }),
  }),
  admin: section('Health and metrics; nothing secret.', {
    address: listening('the admin listener', '0.0.0.0:9090'),
  }),
  allow_insecure: toggle(
    'Lets gRPC and HTTP listen beyond loopback without TLS, where anybody who reaches them is trusted.',
    false,
  ),
});

const mfa = section('Multi-factor authentication.', {
  enabled: toggle('Off approves every challenge with the reason MFA_DISABLED, and says so everywhere.', true, {
    env: [{ name: 'MFA_ENABLED' }],
  }),
  methods: choices('Methods that are switched on, in order of preference.', METHOD_NAMES, ['totp', 'backup_code'], {
    env: [{ name: 'MFA_METHODS' }],
  }),
  timeout: duration('How long a challenge stays open, by the clock of the server.', '60s', ['1s', '10m'], {
    env: [{ name: 'MFA_TIMEOUT_SECONDS', suffix: 's' }],
  }),
});

const lifetime = (purpose: string) =>
  maybeDuration(`How long a challenge ${purpose} stays open; mfa.timeout if left out.`, ['1s', '10m']);
const challenge = section('Challenges.', {
  ttl: section('Lifetimes by purpose.', {
    action: lifetime('for an action'),
    login: lifetime('at login'),
    factor_change: lifetime('before a factor is changed'),
    step_up: lifetime('that raises a session'),
  }),
  receipt_ttl: duration('How long a receipt can be used after the approval.', '2m', ['5s', '10m']),
  heartbeat: duration('A stream that was silent for so long gets a heartbeat.', '15s', ['1s', '5m']),
  max_open_per_subject: whole('Challenges of one person that may be open at once.', 10, [1, 100]),
});

const budget = section('Wrong proofs of one person, over all methods and ways in.', {
  short_attempts: whole('Attempts before the short lock.', 5, [1, 10]),
  short_lock: duration('How long the short lock lasts.', '15m', ['1s', '24h']),
  hard_attempts: whole('Attempts in a row without a success after which only an operator unlocks.', 100, [2, 100]),
});

const enrollment = section('Adding factors.', {
  first_factor_max_session_age: duration('The first factor needs a session that is younger than this.', '15m', [
    '10s',
    '24h',
  ]),
  ttl: duration('An enrolment has to be confirmed within this time.', '10m', ['10s', '1h']),
  max_factors: whole('Factors that one person may have.', 10, [1, 50]),
});

const reaction = (signal: RiskSignal, sign: string) =>
  choice(
    `What ${sign} leads to: nothing, an event, a demand for step-up too, or the end of the session.`,
    REACTIONS,
    DEFAULT_REACTIONS[signal],
  );
const sessions = section('Sessions.', {
  cap: whole('Sessions that one person may have at once.', 5, [1, 100]),
  policy: choice(
    'At the cap, a new session ends the least recently used one, is refused, or is refused with the list to choose from.',
    ['evict_oldest', 'reject', 'ask'],
    'evict_oldest',
  ),
  absolute: duration('A session ends this long after it was created, whatever happens.', '24h', ['1m', '30d']),
  idle: duration('A session ends when it was not used for this long.', '1h', ['10s', '30d']),
  cache_size: whole('Sessions kept in memory for ValidateSession; 0 for none.', 10_000, [0, 1_000_000]),
  touch_interval: duration(
    'Use of a session is written down this often at most; idle limits are exact to this.',
    '30s',
    ['1s', '10m'],
  ),
  risk: section('Answers to signs of a stolen token.', {
    address_changed: reaction('ADDRESS_CHANGED', 'another address'),
    address_unknown: reaction('ADDRESS_UNKNOWN', 'a missing or unreadable address'),
    agent_changed: reaction('AGENT_CHANGED', 'another browser or system'),
    device_changed: reaction('DEVICE_CHANGED', 'another device id'),
    impossible_travel: reaction('IMPOSSIBLE_TRAVEL', 'travel faster than anybody can'),
  }),
});

const audit = section('The trail of events.', {
  mode: choice(
    'What a grant waits for: its event durable on the local disk (`buffered`), or in PostgreSQL too (`strict`).',
    ['buffered', 'strict'],
    'buffered',
  ),
  max_bytes: size('Largest size of the local buffer; when it is full, nothing is granted any more.', '1GiB', [
    '1MiB',
    '1024GiB',
  ]),
  max_age: duration('How old an event may become that waits for PostgreSQL; then nothing is granted any more.', '24h', [
    '1m',
    '30d',
  ]),
  flush_interval: duration('How long events are gathered before they are flushed to PostgreSQL.', '500ms', [
    '10ms',
    '1m',
  ]),
  flush_batch: whole('Most events in one flush.', 1_000, [1, 10_000]),
  checkpoint_interval: duration('How often the head of the chain is signed.', '1m', ['1s', '24h']),
  fold_window: duration('Repeats of one refusal within this time become one event with a count.', '10s', ['1s', '10m']),
  max_folding: whole(
    'Refusals watched for repeats at once; beyond it they fold by kind, not by person.',
    10_000,
    [1, 1_000_000],
  ),
});

const redis = section('Redis in front of PostgreSQL: copies of sessions and challenges, and news between sidecars.', {
  mode: choice('How Redis is run; `off` goes without it.', ['off', 'single', 'sentinel', 'cluster'], 'off'),
  addresses: list(
    'The server, the Sentinels, or some nodes of the Cluster.',
    hostAndPort,
    ['127.0.0.1:6379'],
    'a list of host:port',
  ),
  master_name: text('Name of the master that the Sentinels watch.', 'mymaster'),
  database: whole('Number of the database; a Cluster has only 0.', 0, [0, 1_000]),
  username: text('ACL user; "" for the default user.', ''),
  password: secret('Password of that user.'),
  sentinel_password: secret('Password of the Sentinels.'),
  tls: section('TLS to Redis, always verified.', {
    enabled: toggle('Speaks TLS.', false),
    ca_file: text('Certificates to trust, as PEM; "" for those of the system.', ''),
    cert_file: text('Own certificate, where Redis asks for one.', ''),
    key_file: text('Key of that certificate.', ''),
    server_name: text('Name the certificate must have, if not that of the address.', ''),
  }),
  prefix: text('First part of all keys and channels, so that several products share one Redis.', 'sallyport', {
    pattern: /^[a-z0-9][a-z0-9-]{0,31}$/,
    expects: 'lower-case letters, digits and hyphens, at most 32',
  }),
  timeout: duration('Longest wait for one command; after it PostgreSQL is asked.', '50ms', ['5ms', '1s']),
});

const postgres = section('PostgreSQL, the central store: with it many sidecars act as one.', {
  url: secret('Where it is, as postgresql://user:password@host:5432/database; left out, this sidecar is on its own.'),
  audit_url: secret('The same database with a role that may only add audit events; postgres.url if left out.'),
  tls: choice('TLS, with certificate and name verified; `off` only on loopback.', ['verify', 'off'], 'verify'),
  ca_file: text('Certificates to trust, as PEM; "" for those of the system.', ''),
  timeout: duration('Longest wait for one unit of work, and for one read.', '2s', ['50ms', '30s']),
  read_timeout: duration('Longest wait for one read of sessions, as on the way of ValidateSession.', '80ms', [
    '10ms',
    '5s',
  ]),
});

const goesOn = (sensitivity: string, fallback: string) =>
  duration(`For ${sensitivity} actions.`, fallback, ['0s', '24h']);
const without = (sensitivity: string) => choice(`For ${sensitivity} actions.`, ['database', 'refuse'], 'database');
const outage = section(
  'What goes on while Redis or PostgreSQL is away. Nothing is ever granted that has to be written.',
  {
    postgres: section(
      'While PostgreSQL is away: for how long sessions that are known from before go on, by what they are used for.',
      {
        low: goesOn('low', '15m'),
        normal: goesOn('normal', '5m'),
        sensitive: goesOn('sensitive', '1m'),
        critical: goesOn('critical', '0s'),
      },
    ),
    redis: section('While Redis is away: go on with PostgreSQL under the same limits, or refuse.', {
      low: without('low'),
      normal: without('normal'),
      sensitive: without('sensitive'),
      critical: without('critical'),
    }),
    failures: whole('Failures in a row after which nobody waits for a dependency any more.', 3, [1, 100]),
    probe: duration('About how often a dependency that is away is tried.', '250ms', ['50ms', '30s']),
  },
);

const asks = (sensitivity: string, fallback: (typeof REQUIREMENT_NAMES)[number]) =>
  choice(`What ${sensitivity} actions ask for when no rule says otherwise.`, REQUIREMENT_NAMES, fallback);
const policy = section('What is needed for what.', {
  defaults: section('Requirements by sensitivity.', {
    low: asks('low', 'none'),
    normal: asks('normal', 'session'),
    sensitive: asks('sensitive', 'mfa_recent'),
    critical: asks('critical', 'mfa_once'),
  }),
  max_age: duration('How old a proof may be for mfa_recent when the rule does not say.', '15m', ['1s', '24h']),
  critical_methods: choices(
    'Methods that satisfy critical actions.',
    ['totp', 'push', 'webauthn'],
    ['totp', 'push', 'webauthn'],
  ),
  sms_for_critical: toggle(
    'Takes SMS on critical actions from a person who has nothing stronger; never in the nist profile.',
    true,
  ),
  rules: list(
    'The first rule that matches decides. Globs: `*` within a segment, `**` across segments.',
    ruleSchema,
    [],
    'a list of rules',
    true,
  ),
});

const limits = section('Bounds that keep the sidecar small.', {
  message_bytes: size('Largest request message.', '64KiB', ['4KiB', '4MiB']),
  max_streams: whole('Streams open at once, over all connections.', 20_000, [1, 1_000_000]),
  max_connections: whole('Connections to one listener at once.', 1_024, [1, 100_000]),
});

export const schema = z.strictObject({
  profile: choice('`nist` forbids SMS and backup codes for critical actions.', ['default', 'nist'], 'default'),
  environment: choice(
    '`production` refuses to start on what is only made for trying out, such as keys that it would have to make itself.',
    ['development', 'production'],
    'development',
  ),
  data_dir: text('Directory of the local databases and, by default, of the key file.', './sallyport-data', {
    pattern: /./,
    expects: 'a path',
  }),
  realms: list(
    'Realms (products or tenants) that this sidecar serves; the first is meant when a call names none.',
    slug,
    ['default'],
    'a list of names',
  ),
  reflection: toggle('Serves gRPC reflection, so that grpcurl needs no proto files.', true),
  listeners,
  keys: section('Keys that encrypt and sign what is stored.', {
    file: text(
      'The key ring, readable by its owner alone (in production by its group too); "" means keys.json in data_dir, made on first start.',
      '',
    ),
  }),
  operator: section('Callers with the operator role.', {
    token_file: text(
      'File with the token that gives the operator role; "" means operator.token in data_dir, made on first start.',
      '',
    ),
  }),
  mfa,
  challenge,
  budget,
  totp,
  enrollment,
  sessions,
  geo: section('Location of addresses.', { file: text('MaxMind database (.mmdb) of cities; "" for none.', '') }),
  redis,
  postgres,
  outage,
  audit,
  policy,
  limits,
  shutdown: section('How it stops.', {
    delay: duration('Time between readiness off and the end of accepting, for load balancers to notice.', '0s', [
      '0s',
      '2m',
    ]),
    grace: duration('Time for calls in flight after that.', '10s', ['0s', '10m']),
  }),
  log: section('The log.', {
    level: choice('Lowest level that is written.', ['debug', 'info', 'warn', 'error'], 'info'),
  }),
  sms,
  twilio,
  push,
  webauthn,
  trusted_devices: trustedDevices,
  notices,
  privacy,
});

type Frozen<T> = T extends Secret
  ? T
  : T extends (infer I)[]
    ? readonly Frozen<I>[]
    : T extends object
      ? { readonly [K in keyof T]: Frozen<T[K]> }
      : T;

/** All settings, checked and frozen. Durations are milliseconds, sizes bytes, absent addresses undefined. */
export type Config = Frozen<z.output<typeof schema>>;
