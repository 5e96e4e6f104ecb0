import type { Sensitivity as DomainSensitivity } from '#src/domain/action.ts';
import { ChallengePurpose, ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { ApiCalls } from './api-calls.ts';
import { totp } from './step-up.ts';

/** Gives the codes of an authenticator with this base32 secret, each once and each right when it is used. */
export type Authenticator = (secret: string) => () => string | Promise<string>;

const ACTION = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR' } };
const CONSENT = { textVersion: '2026-11', language: 'en' };

const SENSITIVITY: Readonly<Record<DomainSensitivity, Sensitivity>> = {
  low: Sensitivity.LOW,
  normal: Sensitivity.NORMAL,
  sensitive: Sensitivity.SENSITIVE,
  critical: Sensitivity.CRITICAL,
};

/** A request for every RPC of the outage table; each would succeed if it came while all is up. */
export interface OutageCalls {
  /** Of a session that is known. */
  readonly token: string;
  /** Of the session that RevokeSession ends. */
  readonly revokedToken: string;
  request(rpc: string, sensitivity: DomainSensitivity): Record<string, unknown>;
}

/** RPCs whose requests say how sensitive the use is. */
export const BY_SENSITIVITY: ReadonlySet<string> = new Set([
  'SessionService/ValidateSession',
  'ChallengeService/OpenChallenge',
  'ChallengeService/VerifyChallenge',
]);

export interface PrepareOptions {
  readonly authenticator: Authenticator;
  /** Part of the names of people, where many cells share one server. */
  readonly suffix?: string;
}

/** Puts in place, through the API, what the requests are about. `rpc`: only for this one, which is quicker. */
export async function prepareOutageCalls(api: ApiCalls, rpc: string, options: PrepareOptions): Promise<OutageCalls> {
  const { authenticator, suffix = '' } = options;
  const ann = `ann${suffix}`;
  const bob = `bob${suffix}`;
  const needs = (...rpcs: readonly string[]) => rpcs.includes(rpc);
  const signIn = async (subject: string) => {
    const { token, session } = await api.unary(SessionService.method.createSession, { subject });
    return { token, id: session?.id ?? '' };
  };
  const begin = async (subject: string, sessionToken: string) => {
    const method = Method.TOTP;
    const begun = await api.unary(FactorService.method.beginEnrollment, {
      subject,
      method,
      sessionToken,
      consent: CONSENT,
    });
    if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
    const key = begun.material.value.manualKey.replaceAll(' ', '');
    return { factorId: begun.factor?.id ?? '', code: authenticator(key) };
  };

  const first = await signIn(ann);
  const second = await signIn(ann);
  const enrolled = await begin(ann, first.token);
  await api.unary(FactorService.method.confirmEnrollment, {
    subject: ann,
    factorId: enrolled.factorId,
    proof: { case: 'code', value: await enrolled.code() },
  });
  const open = async (purpose: ChallengePurpose, action: typeof ACTION | { resource: string; action: string }) => {
    const opened = await api.unary(ChallengeService.method.openChallenge, {
      sessionToken: first.token,
      purpose,
      action,
      sensitivity: Sensitivity.CRITICAL,
    });
    return { challengeId: opened.challenge?.id ?? '', sessionToken: first.token };
  };
  const approve = async (purpose: ChallengePurpose, action: Parameters<typeof open>[1]) => {
    const ref = await open(purpose, action);
    const answer = await api.unary(ChallengeService.method.answerChallenge, {
      ...ref,
      step: totp(await enrolled.code()),
    });
    if (answer.result.case !== 'finished') throw new Error('not approved');
    return answer.result.value.receipt?.token ?? '';
  };

  const remember = async () => {
    const { challenge } = await api.unary(ChallengeService.method.openChallenge, {
      subject: ann,
      purpose: ChallengePurpose.LOGIN,
      sensitivity: Sensitivity.CRITICAL,
    });
    const answer = await api.unary(ChallengeService.method.answerChallenge, {
      challengeId: challenge?.id ?? '',
      step: totp(await enrolled.code()),
    });
    const receipt = answer.result.case === 'finished' ? (answer.result.value.receipt?.token ?? '') : '';
    await api.unary(SessionService.method.createSession, { subject: ann, receipt, rememberDevice: true });
    const { devices } = await api.unary(FactorService.method.listTrustedDevices, { subject: ann });
    return devices[0]?.id ?? '';
  };
  const device = needs('FactorService/RenameTrustedDevice', 'FactorService/RevokeTrustedDevice')
    ? await remember()
    : '';

  const bobs = await signIn(bob);
  const confirming = needs('FactorService/ConfirmEnrollment') ? await begin(bob, bobs.token) : undefined;
  const confirmingCode = (await confirming?.code()) ?? '';
  const receipt = needs('ChallengeService/RedeemReceipt') ? await approve(ChallengePurpose.ACTION, ACTION) : '';
  const change = ChallengePurpose.FACTOR_CHANGE;
  // Not the authenticator, which is the last one that the policy asks for.
  const { factors } = await api.unary(FactorService.method.listFactors, { subject: ann });
  const removed = factors.find(({ method }) => method === Method.BACKUP_CODE)?.id ?? '';
  const removal = needs('FactorService/RemoveFactor')
    ? await approve(change, { resource: `factors/${removed}`, action: 'factor.remove' })
    : '';
  const renewal = needs('FactorService/RegenerateBackupCodes')
    ? await approve(change, { resource: 'factors/backup_code', action: 'factor.regenerate' })
    : '';
  const action = await open(ChallengePurpose.ACTION, ACTION);
  const code = needs('ChallengeService/AnswerChallenge') ? await enrolled.code() : '';
  // Known from before: the sidecar has seen it.
  await api.unary(SessionService.method.validateSession, { token: first.token });
  await api.unary(SessionService.method.validateSession, { token: second.token });

  const openRequest = (sensitivity: Sensitivity) => ({ sessionToken: first.token, action: ACTION, sensitivity });
  const requests: Readonly<Record<string, (sensitivity: Sensitivity) => Record<string, unknown>>> = {
    'SessionService/ValidateSession': (sensitivity) => ({ token: first.token, sensitivity }),
    'SessionService/CreateSession': () => ({ subject: bob }),
    'SessionService/UpdateSession': () => ({ token: first.token, labels: { theme: 'dark' } }),
    'SessionService/RevokeSession': () => ({ session: { case: 'token', value: second.token } }),
    'SessionService/RevokeAllSessions': () => ({ subject: ann, exceptToken: first.token }),
    'SessionService/GetSession': () => ({ sessionId: first.id }),
    'SessionService/ListSessions': () => ({ subject: ann }),
    'SessionService/WatchRevocations': () => ({}),
    'ChallengeService/OpenChallenge': openRequest,
    'ChallengeService/VerifyChallenge': (sensitivity) => ({
      command: { case: 'start', value: openRequest(sensitivity) },
    }),
    'ChallengeService/AnswerChallenge': () => ({ ...action, step: totp(code) }),
    'ChallengeService/CancelChallenge': () => action,
    'ChallengeService/GetChallenge': () => action,
    'ChallengeService/WatchChallenge': () => action,
    'ChallengeService/RedeemReceipt': () => ({ receipt, subject: ann, sessionToken: first.token, action: ACTION }),
    'FactorService/ListFactors': () => ({ subject: ann }),
    'FactorService/GetMfaStatus': () => ({ subject: ann }),
    'FactorService/BeginEnrollment': () => ({
      subject: bob,
      method: Method.TOTP,
      sessionToken: bobs.token,
      consent: CONSENT,
    }),
    'FactorService/ConfirmEnrollment': () => ({
      subject: bob,
      factorId: confirming?.factorId ?? '',
      proof: { case: 'code', value: confirmingCode },
    }),
    'FactorService/RemoveFactor': () => ({ subject: ann, factorId: removed, receipt: removal }),
    'FactorService/RegenerateBackupCodes': () => ({ subject: ann, receipt: renewal }),
    'PrivacyService/RecordConsent': () => ({ subject: ann, method: Method.SMS, ...CONSENT }),
    'PrivacyService/WithdrawConsent': () => ({ subject: ann, method: Method.TOTP }),
    'PrivacyService/ListConsents': () => ({ subject: ann }),
    'PrivacyService/ExportSubject': () => ({ subject: ann }),
    'PrivacyService/EraseSubject': () => ({ subject: ann, reason: 'asked for in writing' }),
    'FactorService/ListTrustedDevices': () => ({ subject: ann }),
    'FactorService/RenameTrustedDevice': () => ({ subject: ann, deviceId: device, displayName: 'at home' }),
    'FactorService/RevokeTrustedDevice': () => ({ subject: ann, deviceId: device }),
    'AdminService/ResetSubject': () => ({ subject: ann, reason: 'lost the phone' }),
    'AdminService/UnlockSubject': () => ({ subject: ann, reason: 'asked for by phone' }),
    'AdminService/GetInfo': () => ({}),
    'AuditService/QueryEvents': () => ({}),
    'AuditService/TailEvents': () => ({ backlog: 1 }),
    'AuditService/ExportEvents': () => ({}),
    'AuditService/VerifyChain': () => ({}),
    'AuditService/GetBufferStatus': () => ({}),
  };
  return {
    token: first.token,
    revokedToken: second.token,
    request(named, sensitivity) {
      const make = requests[named];
      if (!make) throw new Error(`no request is known for ${named}`);
      return make(SENSITIVITY[sensitivity]);
    },
  };
}
