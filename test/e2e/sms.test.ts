import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  ChallengePurpose,
  ChallengeService,
  ChallengeState,
  DeliveryStatus,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, FactorState } from '#src/gen/sallyport/v1/factor_pb.js';
import { DATABASE, ROLES } from '../../scripts/servers/central-database.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { CONSENT, enrolledPerson, signIn, TRANSFER } from '../support/people.ts';
import { ACCOUNT_SID, AUTH_TOKEN, FROM_NUMBER, TwilioStandIn, type TwilioTrouble } from '../support/twilio-stand-in.ts';
import { undisturbed } from '../support/undisturbed.ts';

const run = promisify(execFile);

/** Two sidecars over a real Redis and PostgreSQL, and a Twilio of our own. */
let twilio: TwilioStandIn;
let fleet: Fleet;
let a: GrpcClient;
let b: GrpcClient;
let origin: string;
const publicPorts: number[] = [];

beforeAll(async () => {
  twilio = await TwilioStandIn.start();
  publicPorts.push(await freePort(), await freePort());
  origin = `http://localhost:${publicPorts[0]}`;
  fleet = await startFleet({
    sidecars: 2,
    settings: {
      ...UNHURRIED,
      MFA_METHODS: '["sms","totp","backup_code"]',
      TWILIO_ACCOUNT_SID: ACCOUNT_SID,
      TWILIO_AUTH_TOKEN: AUTH_TOKEN,
      TWILIO_FROM_NUMBER: FROM_NUMBER,
      SALLYPORT_TWILIO_BASE_URL: twilio.url,
      // A message that the sidecar gives up on is not sent again.
      SALLYPORT_TWILIO_TIMEOUT: '8s',
      SALLYPORT_SMS_COUNTRIES: '["US","DE"]',
      SALLYPORT_SMS_APP_NAME: 'Acme',
      SALLYPORT_SMS_MAX_PER_PREFIX_HOUR: '1000',
      SALLYPORT_LISTENERS_PUBLIC_URL: origin,
    },
    settingsOf: (index) => ({ SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${publicPorts[index]}` }),
  });
  [a, b] = [fleet.client(0), fleet.client(1)];
});
afterEach(() => {
  twilio.always = undefined;
  expect(twilio.complaints.splice(0)).toEqual([]);
});
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
});

interface Holder {
  readonly subject: string;
  readonly token: string;
  readonly number: string;
  readonly factorId: string;
}

let people = 0;

async function begun(subject: string, number: string, client = a) {
  const { token } = await signIn(client, subject);
  const { factor, material } = await client.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.SMS,
    sessionToken: token,
    consent: CONSENT,
    phoneNumber: number,
  });
  return { token, factorId: factor?.id ?? '', displayName: factor?.displayName ?? '', material };
}

/** Somebody whose first factor is a number: enrolled on one sidecar, confirmed on the other. */
async function holder(): Promise<Holder> {
  people += 1;
  const subject = `person-${people}`;
  const number = `+1415555${String(2_000 + people * 7)}`;
  const { token, factorId } = await begun(subject, number);
  const proof = { case: 'code', value: await twilio.codeSentTo(number) } as const;
  await b.unary(FactorService.method.confirmEnrollment, { subject, factorId, proof });
  return { subject, token, number, factorId };
}

/** Somebody who has an authenticator as well. */
async function holderOfBoth(): Promise<Holder> {
  people += 1;
  const { subject, token, nextCode } = await enrolledPerson(a, `person-${people}`);
  const { challenge } = await a.unary(ChallengeService.method.openChallenge, {
    sessionToken: token,
    purpose: ChallengePurpose.FACTOR_CHANGE,
    action: { action: 'factor.enroll', resource: 'factors/sms' },
  });
  const { result } = await b.unary(ChallengeService.method.answerChallenge, {
    challengeId: challenge?.id ?? '',
    sessionToken: token,
    step: { case: 'proof', value: { kind: { case: 'totp', value: { code: nextCode() } } } },
  });
  const number = `+1415555${String(2_000 + people * 7)}`;
  const { factor } = await a.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.SMS,
    receipt: result.case === 'finished' ? (result.value.receipt?.token ?? '') : '',
    consent: CONSENT,
    phoneNumber: number,
  });
  const factorId = factor?.id ?? '';
  const proof = { case: 'code', value: await twilio.codeSentTo(number) } as const;
  await b.unary(FactorService.method.confirmEnrollment, { subject, factorId, proof });
  return { subject, token, number, factorId };
}

async function open(client: GrpcClient, { token }: Holder): Promise<string> {
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: token,
    action: TRANSFER,
    sensitivity: Sensitivity.SENSITIVE,
  });
  return challenge?.id ?? '';
}

async function act(client: GrpcClient, { token }: Holder, challengeId: string, resend = false) {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: resend ? { case: 'resend', value: {} } : { case: 'choose', value: { method: Method.SMS } },
  });
  if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
  return result.value;
}

async function answer(client: GrpcClient, { token }: Holder, challengeId: string, code: string) {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: { case: 'proof', value: { kind: { case: 'sms', value: { code } } } },
  });
  return result;
}

async function deliveryOf(client: GrpcClient, { token }: Holder, challengeId: string) {
  const { challenge } = await client.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: token });
  return challenge?.delivery;
}

/** All of the database as a backup has it, and every key and value of Redis. */
async function everythingStored(): Promise<string> {
  const { stdout } = await run('pg_dump', ['--inserts', fleet.postgres.url(DATABASE, ROLES.owner)], {
    maxBuffer: 1 << 28,
  });
  const [server] = fleet.redis.servers;
  const keys = ((await server?.cli('KEYS', '*')) ?? '').split('\n').filter((key) => key !== '');
  const values = await Promise.all(keys.map((key) => server?.cli('DUMP', key)));
  return [stdout, ...keys, ...values].join('\n');
}

const sentTo = ({ number }: Holder) => twilio.messages.filter(({ to }) => to === number);
/** The public listener of one sidecar, whatever the URL says. */
const reach = (index: number) => (url: string) => url.replace(origin, `http://127.0.0.1:${publicPorts[index]}`);

describe('a number', () => {
  it('is enrolled on one sidecar and confirmed on the other, and shown by its end alone', async () => {
    const who = await holder();
    const { factors } = await a.unary(FactorService.method.listFactors, { subject: who.subject });
    const end = who.number.slice(-2);
    expect(factors.find(({ id }) => id === who.factorId)).toMatchObject({
      state: FactorState.ACTIVE,
      maskedNumber: `••••••${end}`,
      displayName: `••••••${end}`,
    });
    expect(JSON.stringify(factors.map(({ displayName, maskedNumber }) => [displayName, maskedNumber]))).not.toContain(
      who.number.slice(-7),
    );
  });

  it.each([
    ['+4930123456', 'phone_number'],
    ['+33612345678', 'phone_number'],
    ['4155552671', 'phone_number'],
  ])('that will not do is refused: %s', async (number, field) => {
    const thrown: unknown = await begun('nobody', number).catch((error: unknown) => error);
    expect(errorInfo(thrown)).toMatchObject({ reason: 'FIELD_INVALID', metadata: { field } });
  });

  it('that Twilio does not take is said to be "not sent" at once', async () => {
    twilio.to('+14155559004', { kind: 'error', status: 400, code: 21610 });
    const thrown: unknown = await begun('stopped', '+14155559004').catch((error: unknown) => error);
    expect(errorInfo(thrown)).toMatchObject({ reason: 'DELIVERY_FAILED', metadata: { reason: 'OPTED_OUT' } });
  });
});

describe('a code', () => {
  it('is chosen on one sidecar, answered on the other, used once, and valid as long as the challenge', async () => {
    const who = await holder();
    const challengeId = await open(a, who);
    const prompt = await act(a, who, challengeId);
    expect(prompt).toMatchObject({ factorId: who.factorId, destination: `••••••${who.number.slice(-2)}` });
    await expect.poll(() => sentTo(who).length).toBe(2);
    const message = sentTo(who).at(-1);
    expect(Number(message?.form['ValidityPeriod'])).toBeLessThanOrEqual(60);
    expect(Number(message?.form['ValidityPeriod'])).toBeGreaterThan(50);
    expect(message?.form['StatusCallback']).toMatch(/^http:\/\/localhost:\d+\/callbacks\/twilio\?about=[\w-]+$/);
    const code = twilio.codeTo(who.number);
    const answers = await Promise.allSettled([answer(a, who, challengeId, code), answer(b, who, challengeId, code)]);
    const finished = answers.filter((one) => one.status === 'fulfilled' && one.value.case === 'finished');
    expect(finished).toHaveLength(1);
    const { challenge } = await b.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: who.token });
    expect(challenge).toMatchObject({ state: ChallengeState.APPROVED, provenMethod: Method.SMS });
  });

  it('is one for ten choices at once over both, is void after a resend, and there are three within ten minutes', async () => {
    const who = await holder();
    const challengeId = await open(a, who);
    await Promise.all(Array.from({ length: 10 }, (_, at) => act(at % 2 ? a : b, who, challengeId)));
    await expect.poll(() => sentTo(who).length).toBe(2);
    const old = twilio.codeTo(who.number);
    await act(b, who, challengeId, true);
    await expect.poll(() => sentTo(who).length).toBe(3);
    expect(twilio.codeTo(who.number)).not.toBe(old);
    expect((await answer(a, who, challengeId, old)).case).toBe('refused');
    for (const client of [a, b]) {
      const thrown: unknown = await act(client, who, challengeId, true).catch((error: unknown) => error);
      expect(errorInfo(thrown)).toMatchObject({ reason: 'LIMIT_EXCEEDED', metadata: { limit: 'sms_per_person' } });
    }
    expect((await answer(b, who, challengeId, twilio.codeTo(who.number))).case).toBe('finished');
    expect(sentTo(who)).toHaveLength(3);
  });
});

describe('trouble with Twilio', () => {
  it.each([
    ['21610', { kind: 'error', status: 400, code: 21610 }, 'OPTED_OUT', DeliveryStatus.FAILED, false],
    ['21408', { kind: 'error', status: 400, code: 21408 }, 'COUNTRY_BLOCKED', DeliveryStatus.FAILED, false],
    ['500', { kind: 'error', status: 500 }, 'PROVIDER_ERROR', DeliveryStatus.UNKNOWN, true],
    ['a reset after it was taken', { kind: 'reset', taken: true }, 'PROVIDER_ERROR', DeliveryStatus.UNKNOWN, true],
  ] as const)('is told within two seconds and another method offered: %s', async (_, trouble, reason, status, more) => {
    await undisturbed(async () => {
      twilio.always = undefined;
      const who = await holder();
      const challengeId = await open(a, who);
      const before = twilio.paths.length;
      twilio.always = trouble as TwilioTrouble;
      await act(a, who, challengeId);
      await expect
        .poll(() => deliveryOf(b, who, challengeId), { timeout: 2_000, interval: 25 })
        .toMatchObject({ status, reason, resendable: more });
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(twilio.paths.length - before).toBe(1);
    });
  });

  it.each([
    ['429 for a while', { kind: 'error', status: 429 }],
    ['silence', { kind: 'hang' }],
  ] as const)('that lasts is told as delay within two seconds: %s', async (name, trouble) => {
    await undisturbed(async () => {
      twilio.always = undefined;
      const who = await holder();
      const challengeId = await open(a, who);
      twilio.always = trouble;
      await act(a, who, challengeId);
      await expect
        .poll(() => deliveryOf(b, who, challengeId), { timeout: 2_000, interval: 25 })
        .toMatchObject({ status: DeliveryStatus.QUEUED, reason: 'DELAYED' });
      if (name === 'silence') {
        await expect
          .poll(() => deliveryOf(b, who, challengeId), { timeout: 20_000 })
          .toMatchObject({ status: DeliveryStatus.UNKNOWN, reason: 'NO_ANSWER', resendable: true });
        twilio.always = undefined;
        await act(b, who, challengeId, true);
      } else twilio.always = undefined;
      await expect.poll(() => sentTo(who).length, { timeout: 15_000 }).toBe(2);
      expect((await answer(b, who, challengeId, twilio.codeTo(who.number))).case).toBe('finished');
    });
  });

  it('that is reported later, by a signed callback to either sidecar, is told within two seconds', async () => {
    await undisturbed(async () => {
      const who = await holderOfBoth();
      const challengeId = await open(a, who);
      await act(a, who, challengeId);
      await expect.poll(() => deliveryOf(a, who, challengeId)).toMatchObject({ status: DeliveryStatus.SENT });
      const sid = sentTo(who).at(-1)?.sid ?? '';
      const forged = { reach: reach(1), authToken: '0'.repeat(32), errorCode: 30003 };
      expect(await twilio.report(sid, 'undelivered', forged)).toBe(403);
      const tamper = (form: URLSearchParams) => form.set('MessageStatus', 'failed');
      expect(await twilio.report(sid, 'delivered', { reach: reach(1), tamper })).toBe(403);
      expect(await deliveryOf(a, who, challengeId)).toMatchObject({ status: DeliveryStatus.SENT });
      const honest = { reach: reach(1), errorCode: 30003 };
      for (const status of ['undelivered', 'sent', 'undelivered']) {
        expect(await twilio.report(sid, status, status === 'sent' ? { reach: reach(0) } : honest)).toBe(204);
      }
      await expect
        .poll(() => deliveryOf(a, who, challengeId), { timeout: 2_000, interval: 25 })
        .toMatchObject({ status: DeliveryStatus.FAILED, reason: 'UNREACHABLE', resendable: true });
      expect((await deliveryOf(b, who, challengeId))?.instead).toEqual([Method.TOTP]);
    });
  });
});

describe('what is kept', () => {
  it('has no number, code or token in it: not in logs, metrics, Redis, PostgreSQL or local files', async () => {
    const who = await holder();
    const challengeId = await open(a, who);
    await act(a, who, challengeId);
    await expect.poll(() => sentTo(who).length).toBe(2);
    await answer(b, who, challengeId, '000000');
    const codes = sentTo(who).flatMap(({ body }) => /[0-9]{6}/.exec(body) ?? []);
    const digits = who.number.slice(1);
    const secrets = [
      digits,
      digits.slice(1),
      AUTH_TOKEN,
      Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64'),
    ];
    for (const sidecar of fleet.sidecars) {
      const metrics = await (await fetch(`${sidecar.adminUrl}/metrics`)).text();
      expect(metrics).toContain('sallyport_sms_total{outcome="sent"');
      const files = readdirSync(sidecar.dataDir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
      const all = [sidecar.stdout, sidecar.stderr, metrics, ...files].join('\n');
      for (const secret of secrets) expect(all).not.toContain(secret);
      const words = `${sidecar.stdout}${sidecar.stderr}${metrics}`;
      for (const code of codes) expect(words).not.toMatch(new RegExp(`(?<![0-9a-f.-])${code}(?![0-9a-f.-])`));
    }
    const stored = await everythingStored();
    expect(stored).toContain(who.factorId);
    for (const secret of secrets) {
      expect(stored).not.toContain(secret);
      expect(stored).not.toContain(Buffer.from(secret).toString('hex'));
    }
  });
});
