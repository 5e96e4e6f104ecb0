import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { type FactorSite, PAGE_ORIGIN } from './factor-site.ts';
import type { GrpcClient } from './grpc-client.ts';
import { CONSENT, signIn } from './people.ts';
import type { StandInSubscription } from './push-service-stand-in.ts';
import { SoftwareAuthenticator } from './software-authenticator.ts';
import { SoftwarePushDevice } from './software-push-device.ts';
import { beginKey, confirmKey, proveBy, type SignedIn } from './webauthn-calls.ts';

/** Somebody with a security key, by which everything else of theirs can be changed as often as a test likes. */
export interface KeyHolder extends SignedIn {
  readonly key: SoftwareAuthenticator;
  readonly keyFactorId: string;
  readonly backupCodes: readonly string[];
}

export interface EnrolledNumber {
  readonly factorId: string;
  readonly number: string;
}

export interface EnrolledBrowser {
  readonly factorId: string;
  readonly device: SoftwarePushDevice;
  readonly subscription: StandInSubscription;
}

let numbers = 0;
export function anotherNumber(): string {
  numbers += 7;
  return `+1415555${2_000 + numbers}`;
}

/** The first sidecar begins, the second confirms; one client for both will do. */
export async function keyHolder(subject: string, a: GrpcClient, b = a): Promise<KeyHolder> {
  const { token } = await signIn(a, subject);
  const key = new SoftwareAuthenticator({ origin: PAGE_ORIGIN });
  const { factorId, optionsJson } = await beginKey(a, { subject, token });
  const { backupCodes } = await confirmKey(b, subject, factorId, key.register(optionsJson));
  return { subject, token, key, keyFactorId: factorId, backupCodes };
}

/** A receipt that lets the person change this; proven by their key. */
export const permission = (client: GrpcClient, who: KeyHolder, action: 'factor.enroll' | 'factor.remove', of: string) =>
  proveBy(client, who, who.key, { action, resource: `factors/${of}` });

export async function enrolNumber(site: FactorSite, who: KeyHolder, a: GrpcClient, b = a): Promise<EnrolledNumber> {
  const number = anotherNumber();
  const { factor } = await a.unary(FactorService.method.beginEnrollment, {
    subject: who.subject,
    method: Method.SMS,
    receipt: await permission(a, who, 'factor.enroll', 'sms'),
    consent: CONSENT,
    phoneNumber: number,
  });
  const factorId = factor?.id ?? '';
  const proof = { case: 'code', value: await site.twilio.codeSentTo(number) } as const;
  await b.unary(FactorService.method.confirmEnrollment, { subject: who.subject, factorId, proof });
  return { factorId, number };
}

export async function enrolBrowser(site: FactorSite, who: KeyHolder, a: GrpcClient, b = a): Promise<EnrolledBrowser> {
  const { json } = await site.page(0, '/push/config.json');
  const subscription = site.push.subscribe(String(json['applicationServerKey']));
  const device = new SoftwarePushDevice(subscription);
  const { factor, material } = await a.unary(FactorService.method.beginEnrollment, {
    subject: who.subject,
    method: Method.PUSH,
    receipt: await permission(a, who, 'factor.enroll', 'push'),
    consent: CONSENT,
    pushSubscriptionJson: subscription.json,
    devicePublicKey: device.publicKey,
  });
  if (material.case !== 'pushChallenge') throw new Error(`expected bytes, got ${material.case}`);
  const factorId = factor?.id ?? '';
  const proof = { case: 'pushSignature', value: device.sign(material.value) } as const;
  await b.unary(FactorService.method.confirmEnrollment, { subject: who.subject, factorId, proof });
  return { factorId, device, subscription };
}

/** Chooses a method on a challenge; the prompt. */
export async function choose(client: GrpcClient, token: string, challengeId: string, method: Method) {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: { case: 'choose', value: { method } },
  });
  if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
  return result.value;
}

/** Looks at what the browser was told of and answers, on the public listener of one sidecar; the outcome. */
export async function answerOnBrowser(
  site: FactorSite,
  index: number,
  browser: EnrolledBrowser,
  challengeId: string,
  said: 'approve' | 'deny' | 'not_me',
  number = '',
): Promise<unknown> {
  const at = { realm: 'default', challengeId, factorId: browser.factorId };
  const view = await site.page(index, '/push/api/view', { ...browser.device.look(at, Date.now()) });
  const shown = view.json as never as { subject: string; actionDigest: string };
  const answered = await site.page(index, '/push/api/answer', { ...browser.device.reply(at, shown, said, number) });
  return answered.json['outcome'];
}
