import { isLoopback } from './loopback.ts';
import type { CrossProblem } from './problem.ts';
import type { Config } from './schema.ts';

/** Rules between the settings of methods, of what guards them, and of the listener that browsers reach. */

function smsProblems({ mfa, sms, twilio, environment, notices }: Config): CrossProblem[] {
  if (!mfa.methods.includes('sms')) {
    return notices.channel === 'sms'
      ? [{ path: ['notices', 'channel'], what: 'is sms, which mfa.methods does not switch on' }]
      : [];
  }
  if (sms.provider === 'console') {
    return environment === 'production'
      ? [{ path: ['sms', 'provider'], what: 'is console, which writes codes to the log: production needs twilio' }]
      : [];
  }
  const problems: CrossProblem[] = [];
  const needed = 'is needed since mfa.methods names sms; or set sms.provider to console to try it out';
  if (twilio.account_sid === '') problems.push({ path: ['twilio', 'account_sid'], what: needed });
  if (twilio.auth_token === undefined) problems.push({ path: ['twilio', 'auth_token'], what: needed });
  if ((twilio.from_number === '') === (twilio.messaging_service_sid === ''))
    problems.push({
      path: ['twilio', 'from_number'],
      what: 'or twilio.messaging_service_sid is needed since mfa.methods names sms, and only one of them',
    });
  return problems;
}

function pushProblems({ mfa, push, listeners, environment }: Config): CrossProblem[] {
  if (!mfa.methods.includes('push')) return [];
  const problems: CrossProblem[] = [];
  const why = 'is needed since mfa.methods names push';
  if (push.subject === '') problems.push({ path: ['push', 'subject'], what: why });
  if (!listeners.public.address) problems.push({ path: ['listeners', 'public', 'address'], what: why });
  if (listeners.public.url === '') problems.push({ path: ['listeners', 'public', 'url'], what: why });
  if (environment === 'production' && push.allow_private_hosts)
    problems.push({ path: ['push', 'allow_private_hosts'], what: 'cannot be on in production' });
  return problems;
}

function webauthnProblems({ mfa, webauthn }: Config): CrossProblem[] {
  if (!mfa.methods.includes('webauthn')) return [];
  const problems: CrossProblem[] = [];
  const why = 'is needed since mfa.methods names webauthn';
  if (webauthn.rp_id === '') problems.push({ path: ['webauthn', 'rp_id'], what: why });
  if (webauthn.origins.length === 0) problems.push({ path: ['webauthn', 'origins'], what: why });
  for (const [index, origin] of webauthn.origins.entries()) {
    const { protocol, hostname } = new URL(origin);
    if (protocol !== 'https:' && hostname !== 'localhost')
      problems.push({
        path: ['webauthn', 'origins', index],
        what: 'must be https: browsers offer WebAuthn nowhere else',
      });
  }
  return problems;
}

/** Whether others on the way can read what is sent there. */
function isOpen({ protocol, hostname }: URL): boolean {
  return protocol !== 'https:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

function publicProblems({ listeners, environment, notices }: Config): CrossProblem[] {
  const problems: CrossProblem[] = [];
  const { url, address, trust_proxy } = listeners.public;
  if (
    address &&
    !isLoopback(address.host) &&
    !listeners.allow_insecure &&
    !(url.startsWith('https:') && trust_proxy > 0)
  )
    problems.push({
      path: ['listeners', 'public', 'address'],
      what: 'is beyond loopback without TLS: a proxy has to end TLS in front of it, as url (https) and trust_proxy say then',
    });
  const plain = url.startsWith('http:') && !/^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/.test(url);
  if (plain) problems.push({ path: ['listeners', 'public', 'url'], what: 'must be https, except on this machine' });
  if (environment === 'production' && url.startsWith('http:') && !plain)
    problems.push({ path: ['listeners', 'public', 'url'], what: 'must be https in production' });
  if (notices.channel === 'webhook') {
    if (notices.webhook_url === '')
      problems.push({ path: ['notices', 'webhook_url'], what: 'is needed since notices.channel is webhook' });
    else if (!URL.canParse(notices.webhook_url)) problems.push({ path: ['notices', 'webhook_url'], what: 'is no URL' });
    else if (environment === 'production' && isOpen(new URL(notices.webhook_url)))
      problems.push({ path: ['notices', 'webhook_url'], what: 'must be https in production, except on this machine' });
    if (notices.webhook_secret === undefined)
      problems.push({ path: ['notices', 'webhook_secret'], what: 'is needed since notices.channel is webhook' });
  }
  if (environment === 'production' && notices.channel === 'console')
    problems.push({ path: ['notices', 'channel'], what: 'is console, which tells nobody: production needs another' });
  return problems;
}

/** What methods need beyond their own settings, and what is loose about them. */
export function checkFactors(config: Config): {
  readonly problems: readonly CrossProblem[];
  readonly notices: readonly string[];
} {
  const { mfa, sms, listeners, notices: told } = config;
  const notices: string[] = [];
  if (mfa.methods.includes('sms') && sms.provider === 'console')
    notices.push('sms.provider is console: codes are written to the log');
  if (mfa.methods.includes('sms') && sms.provider === 'twilio' && listeners.public.url === '')
    notices.push('listeners.public.url is empty: Twilio cannot report what became of messages');
  if (told.channel !== 'off' && listeners.public.url === '')
    notices.push('listeners.public.url is empty: notices carry no link to say "this was not me"');
  return {
    problems: [...smsProblems(config), ...pushProblems(config), ...webauthnProblems(config), ...publicProblems(config)],
    notices,
  };
}
