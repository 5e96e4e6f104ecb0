import {
  type AnswerChallengeResponse,
  ChallengePurpose,
  ChallengeService,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { errorInfo, type GrpcClient } from './grpc-client.ts';
import { openTransfer, type Person } from './people.ts';

/** The step that submits a TOTP code. */
export const totp = (code: string, nextCode = '') => ({
  case: 'proof' as const,
  value: { kind: { case: 'totp' as const, value: { code, nextCode } } },
});

/** The step that submits a backup code. */
export const backupCode = (code: string) => ({
  case: 'proof' as const,
  value: { kind: { case: 'backupCode' as const, value: { code } } },
});

/** What came of an answer: `approved`, `LOCKED` and other ends, a refusal's number, or the reason of the error. */
export interface Told {
  readonly end: 'approved' | 'locked' | 'refused' | 'failed';
  /** RefusalReason by number; 0 if there is none. */
  readonly refusal: number;
  readonly attemptsLeft: number;
  /** Of the error. */
  readonly reason: string;
  readonly receipt: string;
}

export async function answer(
  client: GrpcClient,
  challengeId: string,
  sessionToken: string,
  step: ReturnType<typeof totp> | ReturnType<typeof backupCode>,
  extra: { readonly realm?: string; readonly requestId?: string } = {},
): Promise<Told> {
  const told = { refusal: 0, attemptsLeft: 0, reason: '', receipt: '' };
  let reply: AnswerChallengeResponse;
  try {
    reply = await client.unary(ChallengeService.method.answerChallenge, { challengeId, sessionToken, step, ...extra });
  } catch (error) {
    return { ...told, end: 'failed', reason: errorInfo(error).reason };
  }
  const { result } = reply;
  if (result.case === 'refused') {
    const { reason, attemptsLeft } = result.value;
    return { ...told, end: 'refused', refusal: reason, attemptsLeft };
  }
  const receipt = result.case === 'finished' ? (result.value.receipt?.token ?? '') : '';
  return { ...told, end: receipt === '' ? 'locked' : 'approved', receipt };
}

/** Opens a transfer and proves it by `code`; the receipt. Throws if it is not approved. */
export async function approvedTransfer(client: GrpcClient, person: Person, code = person.nextCode()): Promise<string> {
  const { end, receipt, reason } = await answer(client, await openTransfer(client, person), person.token, totp(code));
  if (end !== 'approved') throw new Error(`not approved: ${end} ${reason}`);
  return receipt;
}

/** A receipt for a change of factors, proven by the next code of the person. Throws if it is not approved. */
export async function changeReceipt(
  client: GrpcClient,
  person: Person,
  action: 'factor.enroll' | 'factor.remove' | 'factor.regenerate',
  resource: string,
): Promise<string> {
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: person.token,
    purpose: ChallengePurpose.FACTOR_CHANGE,
    action: { resource, action },
  });
  const { end, receipt, reason } = await answer(client, challenge?.id ?? '', person.token, totp(person.nextCode()));
  if (end !== 'approved') throw new Error(`not approved: ${end} ${reason}`);
  return receipt;
}
