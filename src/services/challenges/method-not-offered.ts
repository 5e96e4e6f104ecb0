import type { Challenge } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';

/** The challenge is not answered by this method, or nothing is sent by it that could be sent again. */
export function methodNotOffered(challenge: Challenge, method: Method | undefined): Fault {
  const offered = [...new Set(challenge.offers.map((offer) => offer.method))].join(',');
  return new Fault('precondition', 'METHOD_NOT_OFFERED', 'the challenge does not offer this; see its `methods`', {
    metadata: { challengeId: challenge.id, method: method ?? '', offered },
    preconditions: [{ type: 'METHOD_NOT_OFFERED', subject: challenge.id, description: `offers ${offered}` }],
  });
}
