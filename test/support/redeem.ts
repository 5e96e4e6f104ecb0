import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { errorInfo, type GrpcClient } from './grpc-client.ts';
import { type Person, TRANSFER } from './people.ts';

/** What is presented with a receipt, as far as it is not the transfer that was approved. */
export interface Redeem {
  readonly realm?: string;
  readonly subject?: string;
  readonly sessionToken?: string;
  readonly action?: object;
  readonly audience?: string;
}

/** Redeems a receipt for TRANSFER; `redeemed`, or the reason why not. */
export async function redeem(client: GrpcClient, receipt: string, over: Redeem) {
  return client
    .unary(ChallengeService.method.redeemReceipt, { receipt, action: TRANSFER, ...over } as never)
    .then(() => ({ code: 0, reason: 'redeemed', metadata: {} as Record<string, string> }), errorInfo);
}

export const redeemBy = (person: Person): Redeem => ({ subject: person.subject, sessionToken: person.token });
