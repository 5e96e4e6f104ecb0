import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { GrpcClient } from './grpc-client.ts';
import { oathtoolCode } from './totp-code.ts';

export const CONSENT = { textVersion: '2026-11', language: 'en' };
export const TRANSFER = {
  resource: 'accounts/42',
  action: 'transfer.create',
  details: { amount: '900 EUR', to: 'Eve' },
};

export interface Person {
  readonly subject: string;
  readonly token: string;
  readonly sessionId: string;
  readonly factorId: string;
  /** base32 without spaces. */
  readonly key: string;
  readonly backupCodes: readonly string[];
  /** A right code that was not used yet; good for two calls per enrolment (the enrolment itself used the oldest). */
  nextCode(): string;
}

export async function signIn(
  client: GrpcClient,
  subject: string,
): Promise<{ readonly token: string; readonly sessionId: string }> {
  const created = await client.unary(SessionService.method.createSession, {
    subject,
    client: {
      ipAddress: '203.0.113.7',
      userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
    },
  });
  return { token: created.token, sessionId: created.session?.id ?? '' };
}

/** Begins the enrolment of an authenticator app; the key is base32 without spaces. */
export async function beginApp(
  client: GrpcClient,
  { subject, token }: { readonly subject: string; readonly token: string },
): Promise<{ readonly factorId: string; readonly key: string }> {
  const { factor, material } = await client.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.TOTP,
    sessionToken: token,
    consent: CONSENT,
  });
  if (material.case !== 'totp') throw new Error('expected TOTP material');
  return { factorId: factor?.id ?? '', key: material.value.manualKey.replaceAll(' ', '') };
}

/**
 * Signs a person in and enrols their authenticator, all through the API, with codes of an independent generator; begun at
 * one sidecar and confirmed at another, if two are given.
 */
export async function enrolledPerson(
  client: GrpcClient,
  subject: string,
  confirmedBy: GrpcClient = client,
): Promise<Person> {
  const { token, sessionId } = await signIn(client, subject);
  const { factorId, key } = await beginApp(client, { subject, token });
  // The window is one step either way: the step before, the current and the next one are three codes without waiting.
  await awaySteps();
  const startedAt = Date.now();
  let next = -1;
  const nextCode = () => {
    if (next > 1) throw new Error('all three codes of the window are used');
    const code = oathtoolCode(key, next, startedAt);
    next += 1;
    return code;
  };
  const confirmed = await confirmedBy.unary(FactorService.method.confirmEnrollment, {
    subject,
    factorId,
    proof: { case: 'code', value: nextCode() },
  });
  return { subject, token, sessionId, factorId, key, backupCodes: confirmed.backupCodes, nextCode };
}

/** Waits past the end of a time step that is about to end, so that the window does not move under a test. */
export async function awaySteps(marginMs = 8_000): Promise<void> {
  const left = 30_000 - (Date.now() % 30_000);
  if (left < marginMs) await new Promise((resolve) => setTimeout(resolve, left + 50));
}

export async function openTransfer(
  client: GrpcClient,
  person: Person,
  extra: { readonly requestId?: string; readonly methods?: Method[] } = {},
): Promise<string> {
  const opened = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: person.token,
    action: TRANSFER,
    sensitivity: Sensitivity.CRITICAL,
    ...extra,
  });
  return opened.challenge?.id ?? '';
}
