import type { MessageInitShape } from '@bufbuild/protobuf';
import { invalidFields } from '#src/domain/faults.ts';
import type {
  AnswerChallengeResponseSchema,
  ChallengeService,
  WatchChallengeResponseSchema,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import type { ChallengeRef } from '#src/services/challenges/challenge-access.ts';
import type { WatchNews } from '#src/services/challenges/challenge-watch.ts';
import type { CallContext, Handlers } from '../call.ts';
import {
  challengeToProto,
  claimsToProto,
  heartbeatToProto,
  interruptedToProto,
  openCommandFromProto,
  promptToProto,
  proofFromProto,
  redeemCommandFromProto,
  refFromProto,
  refusalToProto,
  viewToProto,
} from '../mapping/challenge.ts';
import { methodFromProto } from '../mapping/common.ts';
import { type ChallengeHandlerDependencies, ChallengeStream } from './challenge-stream.ts';
import { Wakeup } from './wakeup.ts';

export function challengeHandlers(deps: ChallengeHandlerDependencies): Handlers<typeof ChallengeService> {
  const { challenges, verification, redemption, realms } = deps;
  return {
    verifyChallenge: (requests, call) => new ChallengeStream(deps, requests, call).responses(),

    watchChallenge: (request, call) => watch(deps, refFromProto(realms, request), call),

    async openChallenge(request, call) {
      const opened = await challenges.open(call.caller, openCommandFromProto(realms, request));
      const { prompt, trustedDeviceToken } = opened;
      const view = { ...viewToProto(opened), trustedDeviceToken };
      return prompt ? { ...view, prompt: promptToProto(prompt) } : view;
    },

    async answerChallenge(request, call): Promise<MessageInitShape<typeof AnswerChallengeResponseSchema>> {
      const ref = refFromProto(realms, request);
      const { step, requestId } = request;
      switch (step.case) {
        case 'proof': {
          const answer = await verification.answer(call.caller, {
            ...ref,
            proof: proofFromProto(step.value),
            requestId,
          });
          if (answer.outcome === 'refused') return { result: { case: 'refused', value: refusalToProto(answer) } };
          const view = await challenges.view(call.caller, answer.challenge);
          return { result: { case: 'finished', value: viewToProto(view) } };
        }
        case 'choose': {
          const method = methodFromProto(step.value.method);
          const prompt = await challenges.choose(call.caller, ref, method, step.value.factorId);
          return { result: { case: 'prompt', value: promptToProto(prompt) } };
        }
        case 'resend': {
          const prompt = await challenges.resend(call.caller, ref, requestId);
          return { result: { case: 'prompt', value: promptToProto(prompt) } };
        }
        default:
          throw invalidFields([{ field: 'step', description: 'is required' }]);
      }
    },

    async getChallenge(request, call) {
      return viewToProto(await challenges.read(call.caller, refFromProto(realms, request)));
    },

    async cancelChallenge(request, call) {
      const { challenge } = await challenges.cancel(call.caller, refFromProto(realms, request), request.reason);
      return { challenge: challengeToProto(challenge) };
    },

    async redeemReceipt(request, call) {
      return claimsToProto(await redemption.redeem(call.caller, redeemCommandFromProto(realms, request)));
    },
  };
}

type WatchResponse = MessageInitShape<typeof WatchChallengeResponseSchema>;

async function* watch(
  { watches }: ChallengeHandlerDependencies,
  ref: ChallengeRef,
  call: CallContext,
): AsyncGenerator<WatchResponse, void> {
  const wakeup = new Wakeup();
  call.signal.addEventListener('abort', wakeup.wake);
  const following = await watches.follow(call.caller, ref, wakeup.wake);
  try {
    for (;;) {
      const news = await following.take();
      if (news) {
        yield newsToProto(news);
        if (news.kind === 'finished') return;
        continue;
      }
      if (call.ended === 'shutdown')
        yield { event: { case: 'interrupted', value: interruptedToProto(ref.challengeId) } };
      if (call.ended !== undefined) return;
      await wakeup.wait();
    }
  } finally {
    call.signal.removeEventListener('abort', wakeup.wake);
    following.close();
  }
}

function newsToProto(news: WatchNews): WatchResponse {
  switch (news.kind) {
    case 'challenge':
      return { event: { case: 'challenge', value: challengeToProto(news.challenge) } };
    case 'heartbeat':
      return { event: { case: 'heartbeat', value: heartbeatToProto(news.remainingMs) } };
    case 'finished':
      return { event: { case: 'finished', value: viewToProto(news.view) } };
  }
}
