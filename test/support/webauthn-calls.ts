import {
  type AnswerChallengeResponse,
  ChallengePurpose,
  ChallengeService,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import type { GrpcClient } from './grpc-client.ts';
import { CONSENT, TRANSFER } from './people.ts';
import type { Key } from './webauthn-page.ts';

/** Somebody signed in. */
export interface SignedIn {
  readonly subject: string;
  readonly token: string;
}

/** Settings for ceremonies from these origins at `localhost`. */
export function webauthnSettings(origins: readonly string[]): Readonly<Record<string, string>> {
  return {
    MFA_METHODS: '["webauthn","totp","backup_code"]',
    SALLYPORT_WEBAUTHN_RP_ID: 'localhost',
    SALLYPORT_WEBAUTHN_ORIGINS: JSON.stringify(origins),
  };
}

export async function beginKey(
  client: GrpcClient,
  { subject, token }: SignedIn,
  extra: { readonly receipt?: string; readonly displayName?: string; readonly requestId?: string } = {},
): Promise<{ readonly factorId: string; readonly optionsJson: string }> {
  const { factor, material } = await client.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.WEBAUTHN,
    sessionToken: token,
    consent: CONSENT,
    accountName: `${subject}@example.com`,
    ...extra,
  });
  if (material.case !== 'webauthnOptionsJson') throw new Error(`expected options, got ${material.case}`);
  return { factorId: factor?.id ?? '', optionsJson: material.value };
}

export function confirmKey(client: GrpcClient, subject: string, factorId: string, credentialJson: string) {
  return client.unary(FactorService.method.confirmEnrollment, {
    subject,
    factorId,
    proof: { case: 'webauthnCredentialJson', value: credentialJson },
  });
}

/** Begins and confirms; the factor's id. */
export async function enrolKey(
  client: GrpcClient,
  person: SignedIn,
  key: Key,
  extra: { readonly receipt?: string; readonly displayName?: string } = {},
): Promise<string> {
  const { factorId, optionsJson } = await beginKey(client, person, extra);
  await confirmKey(client, person.subject, factorId, await key.register(optionsJson));
  return factorId;
}

/** A critical transfer, or a change of factors; the challenge's id. */
export async function openFor(
  client: GrpcClient,
  { token }: SignedIn,
  change?: { readonly action: 'factor.enroll' | 'factor.remove' | 'factor.regenerate'; readonly resource: string },
): Promise<string> {
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: token,
    ...(change
      ? { purpose: ChallengePurpose.FACTOR_CHANGE, action: change }
      : { action: TRANSFER, sensitivity: Sensitivity.CRITICAL }),
  });
  return challenge?.id ?? '';
}

/** Chooses WebAuthn; the options for the browser. */
export async function optionsOf(client: GrpcClient, { token }: SignedIn, challengeId: string): Promise<string> {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: { case: 'choose', value: { method: Method.WEBAUTHN } },
  });
  if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
  return result.value.webauthnOptionsJson;
}

export function answerWith(
  client: GrpcClient,
  { token }: SignedIn,
  challengeId: string,
  credentialJson: string,
): Promise<AnswerChallengeResponse> {
  return client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: { case: 'proof', value: { kind: { case: 'webauthn', value: { credentialJson } } } },
  });
}

/** Opens, chooses and answers; the receipt. */
export async function proveBy(
  client: GrpcClient,
  person: SignedIn,
  key: Key,
  change?: Parameters<typeof openFor>[2],
): Promise<string> {
  const challengeId = await openFor(client, person, change);
  const answer = await key.assert(await optionsOf(client, person, challengeId));
  const { result } = await answerWith(client, person, challengeId, answer);
  if (result.case !== 'finished') throw new Error(`not approved: ${result.case}`);
  return result.value.receipt?.token ?? '';
}
