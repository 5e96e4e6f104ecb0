import type { MessageInitShape } from '@bufbuild/protobuf';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { VerifyChallengeRequest, VerifyChallengeResponseSchema } from '#src/gen/sallyport/v1/challenge_pb.js';
import type { ChallengeRef } from '#src/services/challenges/challenge-access.ts';
import type { ChallengeWatches, Watch, WatchNews } from '#src/services/challenges/challenge-watch.ts';
import type { Challenges } from '#src/services/challenges/challenges.ts';
import type { CoarseTimer } from '#src/services/challenges/coarse-timer.ts';
import type { Redemption } from '#src/services/challenges/redemption.ts';
import type { Verification } from '#src/services/challenges/verification.ts';
import type { CallContext } from '../call.ts';
import {
  challengeToProto,
  heartbeatToProto,
  interruptedToProto,
  openCommandFromProto,
  promptToProto,
  proofFromProto,
  refFromProto,
  refusalToProto,
  viewToProto,
} from '../mapping/challenge.ts';
import { methodFromProto, type Realms } from '../mapping/common.ts';
import { Wakeup } from './wakeup.ts';

type Response = MessageInitShape<typeof VerifyChallengeResponseSchema>;
type Reply = NonNullable<Response['event']>;

export interface ChallengeHandlerDependencies {
  readonly challenges: Challenges;
  readonly verification: Verification;
  readonly redemption: Redemption;
  readonly watches: ChallengeWatches;
  /** For streams that were opened and say nothing; the same one that the watches use. */
  readonly timer: CoarseTimer;
  readonly realms: Realms;
}

/** How long a stream may stay silent before it says what it is for. */
const FIRST_MESSAGE_WITHIN: DurationMs = 10_000;

/**
 * One VerifyChallenge stream. What the caller sends is done in order, one at a time, and only once the replies before it
 * were taken: whoever does not read is not read from either, so a stream holds one reply and one state at most.
 */
export class ChallengeStream {
  readonly #deps: ChallengeHandlerDependencies;
  readonly #call: CallContext;
  readonly #inbox: AsyncIterator<VerifyChallengeRequest>;
  readonly #wakeup = new Wakeup();
  readonly #taken = new Wakeup();
  readonly #replies: Reply[] = [];
  #failure: { readonly error: unknown } | undefined;
  #ref: ChallengeRef | undefined;
  #watch: Watch | undefined;
  #closed = false;

  constructor(deps: ChallengeHandlerDependencies, requests: AsyncIterable<VerifyChallengeRequest>, call: CallContext) {
    this.#deps = deps;
    this.#inbox = requests[Symbol.asyncIterator]();
    this.#call = call;
  }

  async *responses(): AsyncGenerator<Response, void> {
    const { signal } = this.#call;
    const { wake } = this.#wakeup;
    signal.addEventListener('abort', wake);
    const cancelWait = this.#deps.timer.after(FIRST_MESSAGE_WITHIN, () => this.#tooSilent());
    const listening = this.#listen();
    try {
      for (;;) {
        const news = await this.#watch?.take();
        if (news) {
          yield { event: newsToReply(news) };
          if (news.kind === 'finished') return;
          continue;
        }
        const reply = this.#replies.shift();
        if (reply) {
          yield { event: reply };
          this.#taken.wake();
          continue;
        }
        if (this.#failure) throw this.#failure.error;
        if (this.#call.ended !== undefined) {
          if (this.#call.ended === 'shutdown' && this.#ref) {
            yield { event: { case: 'interrupted', value: interruptedToProto(this.#ref.challengeId) } };
          }
          return;
        }
        await this.#wakeup.wait();
      }
    } finally {
      this.#closed = true;
      signal.removeEventListener('abort', wake);
      cancelWait();
      this.#watch?.close();
      this.#taken.wake();
      void this.#inbox.return?.().catch(() => {});
      void listening;
    }
  }

  /** Works through what the caller sends. A half-closed caller goes on receiving. */
  async #listen(): Promise<void> {
    try {
      for (;;) {
        const next = await this.#inbox.next();
        if (this.#closed) return;
        if (next.done) break;
        await this.#obey(next.value.command);
        this.#wakeup.wake();
        while (this.#replies.length > 0 && !this.#closed) await this.#taken.wait();
      }
      if (!this.#ref) throw outOfOrder('the first message must be `start` or `resume`');
    } catch (error) {
      this.#failure = { error };
    }
    this.#wakeup.wake();
  }

  async #obey(command: VerifyChallengeRequest['command']): Promise<void> {
    const { challenges, verification, realms } = this.#deps;
    const { caller } = this.#call;
    if (command.case === 'start') {
      this.#mustBeFirst();
      const open = openCommandFromProto(realms, command.value);
      if (open.trustedDeviceToken !== '') throw noPlaceForToken();
      const { challenge, prompt } = await challenges.open(caller, open);
      const { realm, sessionToken } = open;
      await this.#follow({ realm, challengeId: challenge.id, sessionToken });
      if (prompt) this.#replies.push({ case: 'prompt', value: promptToProto(prompt) });
      return;
    }
    if (command.case === 'resume') {
      this.#mustBeFirst();
      await this.#follow(refFromProto(realms, command.value));
      return;
    }
    const ref = this.#ref;
    if (!ref) throw outOfOrder('the first message must be `start` or `resume`');
    switch (command.case) {
      case 'choose': {
        const method = methodFromProto(command.value.method);
        const prompt = await challenges.choose(caller, ref, method, command.value.factorId);
        this.#replies.push({ case: 'prompt', value: promptToProto(prompt) });
        return;
      }
      case 'answer': {
        const { requestId } = command.value;
        const proof = proofFromProto(command.value.proof);
        const answer = await verification.answer(caller, { ...ref, proof, requestId });
        if (answer.outcome === 'finished') this.#watch?.note(answer.challenge);
        else this.#replies.push({ case: 'refused', value: refusalToProto(answer) });
        return;
      }
      case 'resend': {
        const prompt = await challenges.resend(caller, ref);
        this.#replies.push({ case: 'prompt', value: promptToProto(prompt) });
        return;
      }
      case 'cancel': {
        const { challenge } = await challenges.cancel(caller, ref, command.value.reason);
        this.#watch?.note(challenge);
        return;
      }
      default:
        throw outOfOrder('the message says nothing');
    }
  }

  #mustBeFirst(): void {
    if (this.#ref) throw outOfOrder('`start` and `resume` are for the first message only');
  }

  async #follow(ref: ChallengeRef): Promise<void> {
    const watch = await this.#deps.watches.follow(this.#call.caller, ref, this.#wakeup.wake);
    // The caller may have gone while it was looked up.
    if (this.#closed) watch.close();
    this.#watch = watch;
    this.#ref = ref;
  }

  #tooSilent(): void {
    if (this.#ref || this.#failure) return;
    this.#failure = {
      error: new Fault('deadline', 'DEADLINE_EXCEEDED', 'the stream was opened, but neither `start` nor `resume` came'),
    };
    this.#wakeup.wake();
  }
}

function newsToReply(news: WatchNews): Reply {
  switch (news.kind) {
    case 'challenge':
      return { case: 'challenge', value: challengeToProto(news.challenge) };
    case 'heartbeat':
      return { case: 'heartbeat', value: heartbeatToProto(news.remainingMs) };
    case 'finished':
      return { case: 'finished', value: viewToProto(news.view) };
  }
}

/** The token is used up by looking at it, and no message of the stream could carry the one that takes its place. */
function noPlaceForToken(): Fault {
  const description = 'is for OpenChallenge, whose reply carries the token that takes its place';
  return invalidFields([{ field: 'start.trusted_device_token', description }]);
}

function outOfOrder(message: string): Fault {
  return new Fault('invalid', 'STREAM_ORDER', message);
}
