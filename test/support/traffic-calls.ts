import { status } from '@grpc/grpc-js';
import { ChallengeService, ChallengeState, RefusalReason } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from './grpc-client.ts';
import type { Call, Observation } from './history-checker.ts';
import { insist } from './insist.ts';
import { TRANSFER } from './people.ts';
import { type backupCode, totp } from './step-up.ts';

/** One token of one session; a session that is stepped up goes on under another. */
export interface KnownToken {
  readonly subject: string;
  readonly sessionId: string;
  readonly token: string;
  /** Name in the history: the id of the session, and which of its tokens. */
  readonly key: string;
  readonly generation: number;
  /** When the first call began that may have ended it. */
  endBegan: number;
}

/** What all calls have in common: what was seen, in one list. */
export class TrafficRecord {
  readonly calls: Call[] = [];
  /** What must never be, in words: answers that nothing explains, and calls that hung. */
  readonly wrong: string[] = [];
  /** Milliseconds from the approval at one sidecar to the end of a stream at another. */
  readonly followed: number[] = [];
  readonly sessions = new Set<string>();
  readonly approved = new Set<string>();
  readonly redeemed = new Set<string>();
  readonly steppedUp: string[] = [];
  /** Sessions of which nobody was told whether they were stepped up. */
  readonly perhapsSteppedUp: string[] = [];
  readonly ended = new Set<string>();
  /** Calls that were refused as unavailable, by what was said. */
  readonly unavailable = new Map<string, number>();
}

export type Answered =
  | { readonly outcome: 'taken'; readonly receipt: string }
  | { readonly outcome: 'refused' | 'unknown' };

/** A call that is not answered by then hangs: several times what any of them may take, also on a machine that stands still. */
const LIMIT_MS = 10_000;
/** A challenge that is followed is proved, and if that comes to nothing cancelled, by calls that have their own limits. */
const FOLLOWED_MS = 3 * LIMIT_MS;

/** Callers of one sidecar; each call is in the record when it is over. */
export class TrafficCalls {
  readonly index: number;
  readonly #client: GrpcClient;
  readonly #record: TrafficRecord;

  constructor(index: number, client: GrpcClient, record: TrafficRecord) {
    this.index = index;
    this.#client = client;
    this.#record = record;
  }

  /** Undefined when nobody knows whether there is a session now. */
  async signIn(subject: string, others: Iterable<KnownToken> = []): Promise<KnownToken | undefined> {
    const startedAt = performance.now();
    for (const other of others) other.endBegan = Math.min(other.endBegan, startedAt);
    try {
      const created = await this.#client.unary(SessionService.method.createSession, { subject }, LIMIT_MS);
      const sessionId = created.session?.id ?? '';
      const key = `${sessionId}#0`;
      this.#record.sessions.add(sessionId);
      const evicted = created.evicted.map(({ id }) => id);
      for (const id of evicted) this.#record.ended.add(id);
      this.#saw(
        startedAt,
        { kind: 'create', subject, session: key, outcome: 'created' },
        ...evicted.map((id) => ({ kind: 'end' as const, session: `${id}#0`, outcome: 'ended' as const })),
      );
      return { subject, sessionId, token: created.token, key, generation: 0, endBegan: Number.POSITIVE_INFINITY };
    } catch (error) {
      this.#failed('CreateSession', error);
      this.#saw(startedAt, { kind: 'create', subject, session: '', outcome: 'unknown' });
      return undefined;
    }
  }

  async validate(known: KnownToken): Promise<'yes' | 'no' | 'unknown'> {
    const { key, token } = known;
    const startedAt = performance.now();
    let outcome: 'yes' | 'no' | 'unknown';
    try {
      const { session } = await this.#client.unary(SessionService.method.validateSession, { token }, LIMIT_MS);
      outcome = 'yes';
      if (session?.id !== known.sessionId) this.#record.wrong.push(`${key} was taken for ${session?.id}`);
    } catch (error) {
      outcome = errorInfo(error).code === status.UNAUTHENTICATED ? 'no' : 'unknown';
      if (outcome === 'unknown') this.#failed('ValidateSession', error);
    }
    this.#saw(startedAt, { kind: 'validate', session: key, outcome });
    if (outcome === 'no' && known.endBegan > performance.now())
      this.#record.wrong.push(`sidecar ${this.index} says no to ${key}, which nobody has ended`);
    return outcome;
  }

  /** Whether it was acknowledged. */
  async revoke(known: KnownToken): Promise<boolean> {
    const startedAt = performance.now();
    known.endBegan = Math.min(known.endBegan, startedAt);
    const { sessionId, subject, key } = known;
    try {
      const session = { case: 'sessionId' as const, value: sessionId };
      await this.#client.unary(SessionService.method.revokeSession, { session, subject }, LIMIT_MS);
    } catch (error) {
      this.#failed('RevokeSession', error);
      this.#saw(startedAt, { kind: 'end', session: key, outcome: 'unknown' });
      return false;
    }
    this.#record.ended.add(sessionId);
    this.#saw(startedAt, { kind: 'end', session: key, outcome: 'ended' });
    return true;
  }

  /** The challenge's id; undefined when it was not opened. */
  async open(known: KnownToken): Promise<string | undefined> {
    try {
      const request = { sessionToken: known.token, action: TRANSFER, sensitivity: Sensitivity.SENSITIVE };
      const { challenge } = await this.#client.unary(ChallengeService.method.openChallenge, request, LIMIT_MS);
      return challenge?.id;
    } catch (error) {
      this.#failed('OpenChallenge', error);
      return undefined;
    }
  }

  async cancel(known: KnownToken, challengeId: string): Promise<void> {
    const request = { challengeId, sessionToken: known.token };
    const cancel = () => this.#client.unary(ChallengeService.method.cancelChallenge, request, LIMIT_MS);
    // It may be over already. One that stays open is followed in vain.
    await insist(cancel).catch(() => {});
  }

  /** Proves by something that is good once; `proof` is its name in the history. */
  async prove(
    known: KnownToken,
    challengeId: string,
    proof: string,
    step: ReturnType<typeof backupCode>,
  ): Promise<Answered> {
    const startedAt = performance.now();
    const seen = (outcome: 'taken' | 'refused' | 'unknown') =>
      this.#saw(startedAt, { kind: 'spend', key: proof, outcome });
    const request = { challengeId, sessionToken: known.token, step };
    try {
      const { result } = await this.#client.unary(ChallengeService.method.answerChallenge, request, LIMIT_MS);
      const receipt = result.case === 'finished' ? (result.value.receipt?.token ?? '') : '';
      seen(receipt === '' ? 'refused' : 'taken');
      if (receipt === '') return { outcome: 'refused' };
      this.#record.approved.add(challengeId);
      return { outcome: 'taken', receipt };
    } catch (error) {
      this.#failed('AnswerChallenge', error);
      seen('unknown');
      return { outcome: 'unknown' };
    }
  }

  /** A wrong code of an authenticator. */
  async guess(known: KnownToken, challengeId: string, code: string): Promise<void> {
    const { subject, token: sessionToken } = known;
    const startedAt = performance.now();
    try {
      const request = { challengeId, sessionToken, step: totp(code) };
      const { result } = await this.#client.unary(ChallengeService.method.answerChallenge, request, LIMIT_MS);
      const isWrong = result.case === 'refused' && result.value.reason === RefusalReason.PROOF_WRONG;
      this.#saw(startedAt, { kind: 'guess', subject, outcome: isWrong ? 'wrong' : 'locked' });
      if (result.case === 'finished' && result.value.challenge?.state === ChallengeState.APPROVED)
        this.#record.wrong.push(`a guess was taken for a code of ${subject}`);
    } catch (error) {
      const outcome = this.#refusal('AnswerChallenge', error, ['CHALLENGE_ENDED', 'SUBJECT_LOCKED']);
      this.#saw(startedAt, { kind: 'guess', subject, outcome: outcome === 'refused' ? 'locked' : 'unknown' });
    }
  }

  async redeem(known: KnownToken, challengeId: string, receipt: string): Promise<'taken' | 'refused' | 'unknown'> {
    const startedAt = performance.now();
    const { subject, token: sessionToken } = known;
    const request = { receipt, subject, sessionToken, action: TRANSFER };
    const outcome = await this.#client.unary(ChallengeService.method.redeemReceipt, request, LIMIT_MS).then(
      () => 'taken' as const,
      (error: unknown) => this.#refusal('RedeemReceipt', error, ['RECEIPT_REDEEMED']),
    );
    if (outcome === 'taken') this.#record.redeemed.add(challengeId);
    this.#saw(startedAt, { kind: 'spend', key: `receipt of ${challengeId}`, outcome });
    return outcome;
  }

  /** The session under its new token. */
  async stepUp(known: KnownToken, challengeId: string, receipt: string): Promise<KnownToken | undefined> {
    const startedAt = performance.now();
    known.endBegan = Math.min(known.endBegan, startedAt);
    const request = { token: known.token, receipt };
    const spent = (outcome: 'taken' | 'refused' | 'unknown') =>
      ({ kind: 'spend', key: `receipt of ${challengeId}`, outcome }) as const;
    try {
      const { token } = await this.#client.unary(SessionService.method.updateSession, request, LIMIT_MS);
      this.#record.steppedUp.push(known.sessionId);
      this.#saw(startedAt, spent('taken'), { kind: 'end', session: known.key, outcome: 'ended' });
      const generation = known.generation + 1;
      const key = `${known.sessionId}#${generation}`;
      return { ...known, token, key, generation, endBegan: Number.POSITIVE_INFINITY };
    } catch (error) {
      // The one that came first has replaced the token.
      const outcome = this.#refusal('UpdateSession', error, ['RECEIPT_REDEEMED', 'SESSION_INVALID']);
      if (outcome === 'unknown') this.#record.perhapsSteppedUp.push(known.sessionId);
      this.#saw(startedAt, spent(outcome));
      return undefined;
    }
  }

  /** How many sessions the person has; undefined when nobody says. */
  async list(subject: string): Promise<readonly string[] | undefined> {
    try {
      const { sessions } = await this.#client.unary(SessionService.method.listSessions, { subject }, LIMIT_MS);
      return sessions.map(({ id }) => id);
    } catch (error) {
      this.#failed('ListSessions', error);
      return undefined;
    }
  }

  /** `standing` once the stream has told anything; `end` when it told the end, infinity if it was refused before. */
  watch(known: KnownToken, challengeId: string): { readonly standing: Promise<void>; readonly end: Promise<number> } {
    const stream = this.#client.serverStream(ChallengeService.method.watchChallenge, {
      challengeId,
      sessionToken: known.token,
    });
    const standing = new Promise<void>((resolve) => {
      stream.once('data', () => resolve());
      stream.once('close', () => resolve());
    });
    const end = new Promise<number>((resolve) => {
      const limit = setTimeout(() => stream.cancel(), FOLLOWED_MS);
      stream.on('data', ({ event }) => {
        if (event.case === 'finished') resolve(performance.now());
      });
      stream.on('error', (error) => {
        this.#failed('WatchChallenge', error);
        resolve(Number.POSITIVE_INFINITY);
      });
      stream.on('close', () => clearTimeout(limit));
    });
    return { standing, end };
  }

  #saw(startedAt: number, ...observations: readonly Observation[]): void {
    const endedAt = performance.now();
    for (const observation of observations)
      this.#record.calls.push({ ...observation, sidecar: this.index, startedAt, endedAt });
  }

  #refusal(rpc: string, error: unknown, reasons: readonly string[]): 'refused' | 'unknown' {
    if (reasons.includes(errorInfo(error).reason)) return 'refused';
    this.#failed(rpc, error);
    return 'unknown';
  }

  #failed(rpc: string, error: unknown): void {
    const { code, reason } = errorInfo(error);
    const { unavailable } = this.#record;
    const said = `${rpc}: ${error instanceof Error ? error.message : String(error)}`;
    if (code === status.UNAVAILABLE && reason === 'STORE_UNAVAILABLE')
      unavailable.set(said, (unavailable.get(said) ?? 0) + 1);
    else this.#record.wrong.push(`sidecar ${this.index}: ${reason} ${said}`);
  }
}
