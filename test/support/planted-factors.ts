import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { ChallengePurpose, ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from './eventually.ts';
import {
  anotherNumber,
  answerOnBrowser,
  choose,
  type EnrolledBrowser,
  enrolBrowser,
  enrolNumber,
  type KeyHolder,
  keyHolder,
  permission,
} from './factor-holder.ts';
import { type FactorSite, WEBHOOK_SECRET } from './factor-site.ts';
import type { GrpcClient } from './grpc-client.ts';
import { awaySteps, CONSENT, signIn, TRANSFER } from './people.ts';
import type { PushReply } from './push-service-stand-in.ts';
import { answer, backupCode } from './step-up.ts';
import { oathtoolCode, seedOf } from './totp-code.ts';
import { ACCOUNT_SID, AUTH_TOKEN, type TwilioTrouble } from './twilio-stand-in.ts';
import { answerWith, optionsOf } from './webauthn-calls.ts';

export interface PlantedPlaces {
  readonly site: FactorSite;
  /** Two sidecars, or the same one twice. */
  readonly a: GrpcClient;
  readonly b: GrpcClient;
  readonly operator: GrpcClient;
  /** The place of the sidecar behind `b`, for its public listener. */
  readonly second: number;
}

const SMS_TROUBLES: readonly TwilioTrouble[] = [
  { kind: 'error', status: 429, retryAfter: '1' },
  { kind: 'error', status: 500 },
  { kind: 'hang' },
  { kind: 'reset', taken: true },
  { kind: 'error', status: 400, code: 21_610 },
  { kind: 'html', status: 502 },
];
const PUSH_TROUBLES: readonly PushReply[] = [
  { status: 429, headers: { 'retry-after': '1' } },
  { status: 500, body: 'no' },
  'hang',
  'reset',
  { status: 413 },
  { status: 410 },
];

/** Lives of people with every factor, through success and through every trouble, and each secret that they met on the way. */
export class PlantedFactors {
  /** By what they are. */
  readonly secrets = new Map<string, string | Buffer>();
  readonly #at: PlantedPlaces;

  constructor(at: PlantedPlaces) {
    this.#at = at;
  }

  async run(): Promise<void> {
    this.#plant('auth token of Twilio', AUTH_TOKEN);
    this.#plant('basic authorization', Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64'));
    this.#plant('webhook secret', WEBHOOK_SECRET);
    await this.#totp();
    for (const [index, trouble] of SMS_TROUBLES.entries()) await this.#sms(index, trouble);
    for (const [index, trouble] of PUSH_TROUBLES.entries()) await this.#push(index, trouble);
    await this.#malformed();
    await this.#device();
    await this.#reset();
    await this.#notMe();
    const codes = this.#at.site.twilio.messages.map(({ body }) => /[0-9]{6}/.exec(body)?.[0] ?? '');
    for (const [index, code] of codes.entries()) this.#plant(`SMS code ${index}`, code);
  }

  #plant(what: string, secret: string | Buffer): void {
    if (secret.length > 0) this.secrets.set(what, secret);
  }

  async #holder(subject: string): Promise<KeyHolder> {
    const { a, b } = this.#at;
    const who = await keyHolder(subject, a, b);
    this.#plant(`session token of ${subject}`, who.token);
    for (const [index, code] of who.backupCodes.entries()) {
      this.#plant(`backup code ${index} of ${subject}`, code);
      this.#plant(`backup code ${index} of ${subject} without hyphens`, code.replaceAll('-', ''));
    }
    return who;
  }

  async #open(client: GrpcClient, { token }: KeyHolder, sensitivity = Sensitivity.SENSITIVE): Promise<string> {
    const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
      sessionToken: token,
      action: TRANSFER,
      sensitivity,
    });
    return challenge?.id ?? '';
  }

  /** By the key, with what goes wrong before: the challenge of the ceremony is kept. */
  async #byKey(who: KeyHolder, challengeId: string, token = who.token): Promise<string> {
    const { a, b } = this.#at;
    const person = { subject: who.subject, token };
    await optionsOf(a, person, challengeId);
    await answerWith(b, person, challengeId, '{"planted":"malformed-assertion-7d1c"}').catch(() => undefined);
    const options = await optionsOf(b, person, challengeId);
    const { challenge } = JSON.parse(options) as { challenge: string };
    this.#plant(`challenge for the key of ${who.subject}`, Buffer.from(challenge, 'base64url'));
    const { result } = await answerWith(b, person, challengeId, who.key.assert(options));
    if (result.case !== 'finished') throw new Error(`not approved: ${result.case}`);
    const receipt = result.value.receipt?.token ?? '';
    this.#plant(`receipt by the key of ${who.subject}`, receipt);
    return receipt;
  }

  #answerBy(client: GrpcClient, who: KeyHolder, challengeId: string, kind: 'totp' | 'sms', code: string) {
    return client
      .unary(ChallengeService.method.answerChallenge, {
        challengeId,
        sessionToken: who.token,
        step: { case: 'proof', value: { kind: { case: kind, value: { code } } } },
      })
      .catch(() => undefined);
  }

  async #totp(): Promise<void> {
    const { a, b } = this.#at;
    const who = await this.#holder('planted-totp');
    const begun = await a.unary(FactorService.method.beginEnrollment, {
      subject: who.subject,
      method: Method.TOTP,
      receipt: await permission(a, who, 'factor.enroll', 'totp'),
      consent: CONSENT,
    });
    if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
    const { manualKey } = begun.material.value;
    this.#plant('seed in groups', manualKey);
    this.#plant('seed in base32', manualKey.replaceAll(' ', ''));
    this.#plant('seed', seedOf(manualKey.replaceAll(' ', '')));
    await awaySteps();
    const now = Date.now();
    const codes = [-1, 0].map((steps) => oathtoolCode(manualKey, steps, now));
    for (const [index, code] of codes.entries()) this.#plant(`TOTP code ${index}`, code);
    const factorId = begun.factor?.id ?? '';
    const proof = { case: 'code', value: codes[0] ?? '' } as const;
    await b.unary(FactorService.method.confirmEnrollment, { subject: who.subject, factorId, proof });
    const challengeId = await this.#open(a, who, Sensitivity.CRITICAL);
    this.#plant('a password typed as a code', 'hunter2-battery-staple');
    await this.#answerBy(b, who, challengeId, 'totp', 'hunter2-battery-staple');
    await this.#answerBy(b, who, challengeId, 'totp', codes[0] ?? '');
    await this.#answerBy(b, who, challengeId, 'totp', codes[1] ?? '');
    await this.#byKey(who, await this.#open(a, who, Sensitivity.CRITICAL));
  }

  async #sms(index: number, trouble: TwilioTrouble): Promise<void> {
    const { site, a, b, second } = this.#at;
    const who = await this.#holder(`planted-sms-${index}`);
    const { number } = await enrolNumber(site, who, a, b);
    this.#plantNumber(number);
    const challengeId = await this.#open(a, who);
    site.twilio.next(trouble);
    await choose(a, who.token, challengeId, Method.SMS);
    await eventually(
      'something came of it',
      async () => {
        const read = await b.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: who.token });
        return (read.challenge?.delivery?.status ?? 0) > 1;
      },
      20_000,
    );
    const newest = site.twilio.messages.findLast(({ to }) => to === number);
    if (newest?.form['StatusCallback'] !== undefined) {
      this.#plant(`callback of ${number}`, newest.form['StatusCallback'].split('about=')[1] ?? '');
      const reach = site.reach(second);
      await site.twilio.report(newest.sid, 'undelivered', { reach, errorCode: 30_003, authToken: 'f'.repeat(32) });
      await site.twilio.report(newest.sid, 'undelivered', { reach, errorCode: 30_003 });
    }
    await this.#answerBy(b, who, challengeId, 'sms', 'not-a-code-at-all-55e1');
    await this.#answerBy(b, who, challengeId, 'sms', site.twilio.codeTo(number));
  }

  #plantNumber(number: string): void {
    this.#plant(`number ${number}`, number.slice(1));
    this.#plant(`number ${number} without its country`, number.slice(2));
  }

  async #push(index: number, trouble: PushReply): Promise<void> {
    const { site, a, b, second } = this.#at;
    const who = await this.#holder(`planted-push-${index}`);
    const browser = await enrolBrowser(site, who, a, b);
    this.#plantBrowser(index, browser);
    const challengeId = await this.#open(a, who, Sensitivity.CRITICAL);
    site.push.next(trouble);
    const { number } = await choose(a, who.token, challengeId, Method.PUSH);
    await eventually(
      'something came of it',
      async () => {
        const read = await b.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: who.token });
        return (read.challenge?.delivery?.status ?? 0) > 1;
      },
      20_000,
    );
    const said = index % 3 === 0 ? 'approve' : index % 3 === 1 ? 'deny' : 'not_me';
    await answerOnBrowser(site, second, browser, challengeId, said, number).catch(() => undefined);
  }

  #plantBrowser(index: number, { subscription: { endpoint, p256dh, auth } }: EnrolledBrowser): void {
    this.#plant(`endpoint ${index}`, endpoint);
    this.#plant(`path of endpoint ${index}`, new URL(endpoint).pathname.split('/').at(-1) ?? '');
    this.#plant(`p256dh ${index}`, Buffer.from(p256dh, 'base64url'));
    this.#plant(`auth ${index}`, Buffer.from(auth, 'base64url'));
    this.#plant(`p256dh ${index} in text`, p256dh);
    this.#plant(`auth ${index} in text`, auth);
  }

  /** What errors are made of when it is not what it should be. */
  async #malformed(): Promise<void> {
    const { site, a, b } = this.#at;
    const who = await this.#holder('planted-malformed');
    const begin = async (method: Method, name: string, more: Readonly<Record<string, unknown>>) =>
      await a
        .unary(FactorService.method.beginEnrollment, {
          subject: who.subject,
          method,
          receipt: await permission(a, who, 'factor.enroll', name),
          consent: CONSENT,
          ...more,
        })
        .catch(() => undefined);
    for (const number of ['+4930987654321', '41555598761x', '+14155559871239871']) {
      this.#plant(`refused number ${number}`, number.replace('+', ''));
      await begin(Method.SMS, 'sms', { phoneNumber: number });
    }
    site.twilio.to('+14155558877', { kind: 'error', status: 400, code: 21_211 });
    this.#plantNumber('+14155558877');
    await begin(Method.SMS, 'sms', { phoneNumber: '+14155558877' });
    const key = site.push.subscribe();
    for (const [index, endpoint] of [
      'https://push.evil.example/planted-endpoint-3f9a',
      'http://localhost/planted-endpoint-77c1',
      'planted-endpoint-b00c',
    ].entries()) {
      this.#plant(`refused endpoint ${index}`, /planted-endpoint-\w+/.exec(endpoint)?.[0] ?? '');
      const keys = { p256dh: key.p256dh, auth: key.auth };
      await begin(Method.PUSH, 'push', {
        pushSubscriptionJson: JSON.stringify({ endpoint, keys }),
        devicePublicKey: new Uint8Array(91).fill(7),
      });
    }
    this.#plant('auth of a refused subscription', key.auth);
    this.#plant('a subscription that is no JSON', 'planted-subscription-1a2b');
    await begin(Method.PUSH, 'push', {
      pushSubscriptionJson: '{"planted-subscription-1a2b"',
      devicePublicKey: who.key.credentialId,
    });
    this.#plant('a credential that is no JSON', 'planted-credential-9e8d');
    await begin(Method.WEBAUTHN, 'webauthn', {});
    const { factors } = await b.unary(FactorService.method.listFactors, { subject: who.subject });
    for (const { id } of factors)
      await b
        .unary(FactorService.method.confirmEnrollment, {
          subject: who.subject,
          factorId: id,
          proof: { case: 'webauthnCredentialJson', value: '{"planted-credential-9e8d' },
        })
        .catch(() => undefined);
    this.#plant('a ticket that is none', 'planted-ticket-4d4d');
    await site.page(0, '/push/api/enroll', { ticket: 'planted-ticket-4d4d', subscription: '{}', publicKey: 'AAAA' });
    this.#plant('a link that is none', 'planted-not-me-5e5e');
    await site.page(0, '/not-me/api/confirm', { token: 'planted-not-me-5e5e' });
  }

  async #device(): Promise<void> {
    const { a, b } = this.#at;
    const who = await this.#holder('planted-device');
    const login = async (client: GrpcClient, trustedDeviceToken = '') =>
      client.unary(ChallengeService.method.openChallenge, {
        subject: who.subject,
        purpose: ChallengePurpose.LOGIN,
        action: { resource: 'login', action: 'sign_in' },
        trustedDeviceToken,
      });
    const { challenge } = await login(a);
    const receipt = await this.#byKey(who, challenge?.id ?? '', '');
    const { trustedDeviceToken: first } = await a.unary(SessionService.method.createSession, {
      subject: who.subject,
      receipt,
      rememberDevice: true,
    });
    this.#plant('first device token', first);
    const { trustedDeviceToken: second } = await login(b, first);
    this.#plant('second device token', second);
    await login(a, first);
    await login(a, `${second.slice(0, -1)}!`).catch(() => undefined);
    const left = (await login(b)).challenge?.id ?? '';
    await answer(b, left, '', backupCode('WXYZ-WXYZ-WXYZ-WXYZ'));
    await answer(b, left, '', backupCode(who.backupCodes[0] ?? ''));
    await answer(b, (await login(a)).challenge?.id ?? '', '', backupCode(who.backupCodes[0] ?? ''));
  }

  async #reset(): Promise<void> {
    const { a, b, operator } = this.#at;
    const who = await this.#holder('planted-reset');
    const { temporaryPass } = await operator.unary(AdminService.method.resetSubject, {
      subject: who.subject,
      reason: 'lost phone',
      requestId: '6a0cf4f5-17c5-4d59-8f2f-0c2f6d0e7d22',
    });
    this.#plant('temporary pass', temporaryPass);
    this.#plant('temporary pass without hyphens', temporaryPass.replaceAll('-', ''));
    this.#plant('temporary pass in capitals', temporaryPass.replaceAll('-', '').toUpperCase());
    const { token } = await signIn(b, who.subject);
    const number = anotherNumber();
    this.#plantNumber(number);
    const begin = (pass: string) =>
      b.unary(FactorService.method.beginEnrollment, {
        subject: who.subject,
        method: Method.SMS,
        sessionToken: token,
        consent: CONSENT,
        phoneNumber: number,
        temporaryPass: pass,
      });
    for (const pass of ['', 'zzzz-planted-pass-zzzz']) await begin(pass).catch(() => undefined);
    await begin(temporaryPass);
    await begin(temporaryPass).catch(() => undefined);
    this.#plant('wrong pass', 'planted-pass-zzzz');
    await a
      .unary(PrivacyService.method.withdrawConsent, { subject: who.subject, method: Method.SMS })
      .catch(() => undefined);
  }

  /** Notices meet a webhook in trouble; then somebody says that it was not them. */
  async #notMe(): Promise<void> {
    const { site, second } = this.#at;
    let calls = 0;
    site.webhook.answer = (response) => {
      calls += 1;
      if (calls === 1) response.writeHead(500).end('no');
      else if (calls === 2) response.destroy();
      else response.writeHead(204).end();
    };
    const who = await this.#holder('planted-not-me');
    const links = () =>
      site.webhook.calls
        .map(({ body }) => JSON.parse(body) as { readonly subject: string; readonly not_me_url?: string })
        .filter((notice) => notice.subject === who.subject)
        .flatMap((notice) => notice.not_me_url?.split('#')[1] ?? []);
    await eventually('a notice', () => links().length > 0, 60_000);
    for (const [index, { body, signature }] of site.webhook.calls.entries()) {
      const { not_me_url: url } = JSON.parse(body) as { readonly not_me_url?: string };
      this.#plant(`not-me token ${index}`, url?.split('#')[1] ?? '');
      this.#plant(`signature of notice ${index}`, /v1=(\w+)/.exec(signature)?.[1] ?? '');
    }
    const token = links().at(-1) ?? '';
    await site.page(second, '/not-me/api/view', { token });
    const told = await site.page(second, '/not-me/api/confirm', { token });
    if (told.status !== 200) throw new Error(`not locked: ${told.status} ${told.text}`);
  }
}
