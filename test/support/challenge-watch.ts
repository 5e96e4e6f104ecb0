import {
  type Challenge,
  ChallengeService,
  type Finished,
  type WatchChallengeResponse,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { eventually } from './eventually.ts';
import type { GrpcClient } from './grpc-client.ts';

/** What somebody who follows a challenge at one sidecar is told, and when. */
export class ChallengeWatch implements Disposable {
  readonly seen: { readonly at: number; readonly challenge: Challenge }[] = [];
  finished: Finished | undefined;
  readonly #stream: { cancel(): void };

  constructor(client: GrpcClient, challengeId: string, sessionToken = '') {
    const stream = client.serverStream(ChallengeService.method.watchChallenge, { challengeId, sessionToken });
    this.#stream = stream;
    stream.on('data', ({ event }: WatchChallengeResponse) => {
      if (event.case === 'challenge') this.seen.push({ at: performance.now(), challenge: event.value });
      if (event.case === 'finished') this.finished = event.value;
    });
    stream.on('error', () => {});
  }

  /** Resolves with the challenge as it was told once; and when. */
  async told(what: string, holds: (challenge: Challenge) => boolean, limitMs = 15_000) {
    await eventually(what, () => this.seen.some(({ challenge }) => holds(challenge)), limitMs);
    return this.seen.find(({ challenge }) => holds(challenge)) as {
      readonly at: number;
      readonly challenge: Challenge;
    };
  }

  async ended(limitMs = 15_000): Promise<Finished> {
    await eventually('the end of the challenge', () => this.finished !== undefined, limitMs);
    return this.finished as Finished;
  }

  [Symbol.dispose](): void {
    this.#stream.cancel();
  }
}
