import * as z from 'zod/mini';
import { choice, duration, list, secret, section, size, text, textOf, toggle, whole } from './setting.ts';

/** Settings of single methods, and of what guards them. */

export const totp = section('Codes from authenticator apps (RFC 6238).', {
  issuer: text('Name that the app shows beside the account; no colon.', 'Sallyport', {
    pattern: /^[^:\p{Cc}]{1,64}$/u,
    expects: '1 to 64 characters without a colon',
  }),
  window: whole('Time steps of 30 s before and after the current one that are accepted.', 1, [0, 1]),
  resync_reach: whole(
    'Time steps in which two consecutive codes resynchronise a clock that is off; 0 forbids it.',
    20,
    [0, 120],
  ),
});

const country = textOf('an ISO 3166-1 country code in capitals, such as US', /^[A-Z]{2}$/);
const language = textOf('a BCP 47 language, such as en or pt-BR', /^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/);
const template = z.strictObject({
  language,
  text: textOf(
    'up to 300 characters with {code} once; {app} and {minutes} may be used',
    /^(?=.{6,300}$)[^{}]*(?:\{(?:app|minutes)\}[^{}]*)*\{code\}[^{}]*(?:\{(?:app|minutes)\}[^{}]*)*$/su,
  ),
});

const perDay = (what: string, fallback: number) => whole(`Messages ${what} within a day.`, fallback, [1, 10_000_000]);
export const sms = section('Codes by SMS.', {
  provider: choice(
    '`twilio`, or `console`: messages are written to the log for trying out, which production refuses.',
    ['twilio', 'console'],
    'twilio',
  ),
  app_name: text('Name in the messages.', 'Sallyport', {
    pattern: /^[^\p{Cc}{}]{1,32}$/u,
    expects: '1 to 32 characters',
  }),
  countries: list(
    'Countries that numbers may be of; every other number is refused.',
    country,
    ['US'],
    'a list of country codes',
  ),
  max_sends: whole('Messages to one person, and to one number, within `send_window`.', 3, [1, 3]),
  send_window: duration('The window of `max_sends`.', '10m', ['10m', '24h']),
  max_per_number_day: perDay('to one number', 10),
  max_per_prefix_hour: whole(
    'Messages to numbers that share all but the last three digits, within an hour.',
    10,
    [1, 1_000_000],
  ),
  max_per_country_hour: whole('Messages to one country within an hour.', 1_000, [1, 10_000_000]),
  max_per_realm_hour: whole('Messages of one realm within an hour.', 2_000, [1, 10_000_000]),
  max_per_day: perDay('of all realms together: the spend stop', 10_000),
  min_verified_share: whole(
    'Percent of codes to a country within an hour that have to be typed in; below it no more are sent there. 0 switches it off.',
    20,
    [0, 100],
  ),
  min_verified_sends: whole('Codes to a country before `min_verified_share` is looked at.', 20, [5, 100_000]),
  queue: whole('Messages that wait for the provider at once; more are refused.', 200, [1, 10_000]),
  templates: list(
    'Texts by language, in place of the built-in ones; the first is taken where the language of the person has none.',
    template,
    [],
    'a list of { language, text }',
    true,
  ),
});

export const twilio = section('Twilio, the SMS provider (Programmable Messaging).', {
  account_sid: text('Account.', '', { env: [{ name: 'TWILIO_ACCOUNT_SID' }] }),
  auth_token: secret('Auth token; also checks the signatures of status callbacks.', {
    env: [{ name: 'TWILIO_AUTH_TOKEN' }],
  }),
  from_number: text('Number that messages come from, as +14155550100.', '', { env: [{ name: 'TWILIO_FROM_NUMBER' }] }),
  messaging_service_sid: text('Messaging service that sends, in place of from_number.', '', {
    env: [{ name: 'TWILIO_MESSAGING_SERVICE_SID' }],
  }),
  base_url: text('Where the API is, for a proxy in front of it.', 'https://api.twilio.com', {
    pattern: /^https?:\/\/[^\s?#]+$/,
    expects: 'a URL',
  }),
  timeout: duration('Longest wait for one answer.', '5s', ['500ms', '30s']),
  discard_content: toggle('Asks Twilio not to keep the text of messages.', false),
});

export const push = section('Approval on an enrolled browser, by Web Push.', {
  subject: text('Contact for push services, as mailto: or https: (RFC 8292).', '', {
    pattern: /^(?:|mailto:[^\s@]+@[^\s@]+|https:\/\/\S+)$/,
    expects: 'mailto:somebody@example.com or an https URL',
  }),
  hosts: list(
    'Hosts of push services that browsers may subscribe at; `*.` stands for one or more labels.',
    textOf('a host name, such as fcm.googleapis.com or *.push.apple.com', /^(?:\*\.)?[a-z0-9.-]{1,253}$/),
    ['fcm.googleapis.com', 'updates.push.services.mozilla.com', '*.push.apple.com', '*.notify.windows.com'],
    'a list of host names',
  ),
  ca_file: text('Certificates to trust for push services, as PEM; "" for those of the system.', ''),
  allow_private_hosts: toggle(
    'Lets the hosts be at private addresses and other ports, for a push service of your own; production refuses it.',
    false,
  ),
  timeout: duration('Longest wait for one answer.', '5s', ['500ms', '30s']),
  max_per_window: whole('Notifications to one person within five minutes.', 3, [1, 10]),
  max_unanswered: whole('Notifications to one person since the last approval; then push rests for a day.', 10, [1, 50]),
});

export const webauthn = section('Passkeys and security keys.', {
  rp_id: text('Domain that credentials belong to (RP ID), such as example.com.', '', {
    pattern: /^(?:|localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+)$/,
    expects: 'a domain',
  }),
  rp_name: text('Name that the browser shows.', 'Sallyport', {
    pattern: /^[^\p{Cc}]{1,64}$/u,
    expects: '1 to 64 characters',
  }),
  origins: list(
    'Origins that ceremonies may come from, such as https://app.example.com; related origins too.',
    textOf('an origin, such as https://app.example.com', /^https?:\/\/[a-z0-9.-]+(?::\d{1,5})?$/),
    [],
    'a list of origins',
    true,
  ),
  top_origins: list(
    'Origins that may embed one of `origins` in a frame; empty refuses every ceremony in a frame of another site.',
    textOf('an origin, such as https://app.example.com', /^https?:\/\/[a-z0-9.-]+(?::\d{1,5})?$/),
    [],
    'a list of origins',
    true,
  ),
  counter_regression: choice(
    'When a signature counter did not grow, a sign of a cloned key: refuse, or accept with an event where the action is not critical.',
    ['refuse', 'audit'],
    'refuse',
  ),
});

export const trustedDevices = section('Devices that are remembered at login; never enough for a critical action.', {
  enabled: toggle('Lets people have a device remembered.', true),
  life: duration('How long a device is remembered, however it is used.', '30d', ['1h', '30d']),
  grace: duration('How long the token before the last is still taken.', '30s', ['0s', '5m']),
  max_per_subject: whole('Devices of one person; beyond it the least recently used one is forgotten.', 10, [1, 50]),
});

export const notices = section('Telling people what was changed.', {
  channel: choice(
    'How: not at all, into the log (for trying out), to your application by webhook, or by SMS to those who have a number.',
    ['off', 'console', 'webhook', 'sms'],
    'off',
  ),
  webhook_url: text('Where notices are posted to.', '', { pattern: /^(?:|https?:\/\/\S+)$/, expects: 'a URL' }),
  webhook_secret: secret('Key that notices are signed with (HMAC-SHA-256, header sallyport-signature).'),
  timeout: duration('Longest wait for one answer.', '5s', ['500ms', '30s']),
  not_me_life: duration('How long the "this was not me" link of a notice works.', '7d', ['1h', '30d']),
});

export const privacy = section('What is kept of people, and for how long.', {
  challenge_retention: duration('Ended challenges.', '2d', ['2d', '365d']),
  session_retention: duration('Ended sessions.', '30d', ['1d', '365d']),
  pass_life: duration('How long the temporary pass of a reset works.', '1h', ['5m', '24h']),
  max_export: size('Largest export of one person.', '64MiB', ['1MiB', '1GiB']),
});
