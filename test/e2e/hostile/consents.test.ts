import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengePurpose, ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from '../../support/eventually.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { CONSENT, enrolledPerson, type Person, signIn, TRANSFER } from '../../support/people.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, backupCode, changeReceipt, totp } from '../../support/step-up.ts';

const NUMBER = '+14155550123';
const SETTINGS = {
  MFA_METHODS: '["totp","sms","backup_code"]',
  SALLYPORT_SMS_PROVIDER: 'console',
  SALLYPORT_ENVIRONMENT: 'development',
};

let sidecar: Sidecar;
let client: GrpcClient;
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: SETTINGS });
  client = sidecar.client();
});
afterAll(() => sidecar[Symbol.asyncDispose]());

const reasonOf = (call: Promise<unknown>) =>
  call.then(
    () => 'done',
    (error: unknown) => errorInfo(error).reason,
  );

/** Messages of the console, which are lines of the log. */
const sent = () => (sidecar.stdout + sidecar.stderr).split('\n').filter((line) => line.includes('not sent anywhere'));

/** The code of the message that was sent after these. */
async function codeAfter(before: number): Promise<string> {
  await eventually('a message is in the log', async () => sent().length > before, 10_000);
  const line = sent().at(-1) ?? '';
  const code = /"text":"[^"]*?\b(\d{6})\b/.exec(line)?.[1];
  if (!code) throw new Error(`no code in ${line}`);
  return code;
}

/** Somebody with an authenticator and a phone. */
async function victim(subject: string): Promise<Person> {
  const person = await enrolledPerson(client, subject);
  const receipt = await changeReceipt(client, person, 'factor.enroll', 'factors/sms');
  const before = sent().length;
  const begun = await client.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.SMS,
    receipt,
    sessionToken: person.token,
    consent: CONSENT,
    phoneNumber: NUMBER,
  });
  await client.unary(FactorService.method.confirmEnrollment, {
    subject,
    factorId: begun.factor?.id ?? '',
    proof: { case: 'code', value: await codeAfter(before) },
  });
  return person;
}

const withdraw = (subject: string, method: Method) =>
  client.unary(PrivacyService.method.withdrawConsent, { subject, method });

const open = async (token: string, purpose: ChallengePurpose, sensitivity = Sensitivity.CRITICAL) =>
  await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: token,
    purpose,
    sensitivity,
    ...(purpose === ChallengePurpose.ACTION ? { action: TRANSFER } : {}),
    ...(purpose === ChallengePurpose.FACTOR_CHANGE
      ? { action: { resource: 'factors/totp', action: 'factor.enroll' } }
      : {}),
  });

describe('an enrolment', () => {
  it('without consent is refused, and with one that was recorded before goes on', async () => {
    const subject = 'without-consent';
    const { token } = await signIn(client, subject);
    const begin = () =>
      client.unary(FactorService.method.beginEnrollment, { subject, method: Method.TOTP, sessionToken: token });
    expect(await reasonOf(begin())).toBe('CONSENT_REQUIRED');
    await client.unary(PrivacyService.method.recordConsent, { subject, method: Method.SMS, ...CONSENT });
    expect(await reasonOf(begin())).toBe('CONSENT_REQUIRED');
    await client.unary(PrivacyService.method.recordConsent, { subject, method: Method.TOTP, ...CONSENT });
    expect(await reasonOf(begin())).toBe('done');
    await withdraw(subject, Method.TOTP);
    expect(await reasonOf(begin())).toBe('CONSENT_REQUIRED');
  });
});

describe('a thief with the session of somebody else', () => {
  it('gains nothing by withdrawing their consent: no enrolment, no weaker proof, no way around, nothing removed', async () => {
    const person = await victim('robbed');
    const { token, subject } = person;
    await withdraw(subject, Method.TOTP);

    // A young session is for the very first factor, and this person has some.
    const begin = { subject, method: Method.TOTP, sessionToken: token, consent: CONSENT };
    expect(await reasonOf(client.unary(FactorService.method.beginEnrollment, begin))).toBe('STEP_UP_REQUIRED');
    const young = await signIn(client, subject);
    const again = client.unary(FactorService.method.beginEnrollment, { ...begin, sessionToken: young.token });
    expect(await reasonOf(again)).toBe('STEP_UP_REQUIRED');

    // SMS is for those who have nothing stronger, and what is frozen is had.
    const critical = await open(token, ChallengePurpose.ACTION).catch((error: unknown) => errorInfo(error).reason);
    expect(critical).toBe('MFA_NOT_ENROLLED');
    for (const purpose of [ChallengePurpose.FACTOR_CHANGE, ChallengePurpose.STEP_UP]) {
      const opened = await open(token, purpose).catch((error: unknown) => errorInfo(error).reason);
      if (typeof opened === 'string') expect(opened).toBe('MFA_NOT_ENROLLED');
      else expect(opened.challenge?.state).not.toBe(ChallengeState.APPROVED);
    }

    const { factors } = await client.unary(FactorService.method.listFactors, { subject });
    const held = factors.find(({ method }) => method === Method.TOTP)?.id ?? '';
    const removal = client.unary(FactorService.method.removeFactor, { subject, factorId: held });
    expect(await reasonOf(removal)).toBe('STEP_UP_REQUIRED');
    const renewal = client.unary(FactorService.method.regenerateBackupCodes, { subject });
    expect(await reasonOf(renewal)).toBe('STEP_UP_REQUIRED');
    const status = await client.unary(FactorService.method.getMfaStatus, { subject });
    expect(status.enrolled).toBe(true);
    expect(status.usableMethods).not.toContain(Method.TOTP);
  });

  it('finds no challenge that was open before to be good for a right code any more, nor for a backup code', async () => {
    const person = await enrolledPerson(client, 'robbed-meanwhile');
    const opened = await open(person.token, ChallengePurpose.ACTION);
    await withdraw(person.subject, Method.TOTP);
    const id = opened.challenge?.id ?? '';
    expect(await answer(client, id, person.token, totp(person.nextCode()))).not.toMatchObject({ end: 'approved' });
    const [code = ''] = person.backupCodes;
    expect(await answer(client, id, person.token, backupCode(code))).not.toMatchObject({ end: 'approved' });
  });

  it('is found out: the trail has it, and a new consent gives the person all of it back', async () => {
    const person = await enrolledPerson(client, 'robbed-and-back');
    await withdraw(person.subject, Method.TOTP);
    await client.unary(PrivacyService.method.recordConsent, {
      subject: person.subject,
      method: Method.TOTP,
      ...CONSENT,
    });
    const opened = await open(person.token, ChallengePurpose.ACTION);
    const proof = await answer(client, opened.challenge?.id ?? '', person.token, totp(person.nextCode()));
    expect(proof.end).toBe('approved');
  });
});

describe('answers', () => {
  it('show numbers masked and consents by network only; the whole ones are in the export alone', async () => {
    const subject = 'masked';
    const address = '198.51.100.23';
    await victim(subject);
    await client.unary(PrivacyService.method.recordConsent, {
      subject,
      method: Method.PUSH,
      ...CONSENT,
      client: { ipAddress: address },
    });
    const { token } = await client.unary(SessionService.method.createSession, { subject });
    const answers = [
      await client.unary(FactorService.method.listFactors, { subject }),
      await client.unary(FactorService.method.getMfaStatus, { subject }),
      await client.unary(FactorService.method.listTrustedDevices, { subject }),
      await client.unary(PrivacyService.method.listConsents, { subject }),
      await open(token, ChallengePurpose.LOGIN, Sensitivity.SENSITIVE),
    ];
    const told = JSON.stringify(answers, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    expect(told).toContain('198.51.100.0/24');
    for (const value of [NUMBER, NUMBER.slice(1), NUMBER.slice(-7), address]) expect(told, value).not.toContain(value);
    const chunks: Uint8Array[] = [];
    for await (const { chunk } of client.serverStream(PrivacyService.method.exportSubject, { subject }))
      chunks.push(chunk);
    const document = Buffer.concat(chunks).toString('utf8');
    for (const value of [NUMBER, address]) expect(document).toContain(value);
  });
});
