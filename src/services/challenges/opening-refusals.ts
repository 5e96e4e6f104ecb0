import { actionDigest } from '#src/domain/action.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { Fault, type FaultDetails } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import type { DurationMs } from '#src/domain/time.ts';
import { requestIdReused } from '../request-claims.ts';
import { subjectLocked } from '../subject-locked.ts';
import type { Trail } from '../trail.ts';
import { type Asked, decisionFacts, personOf } from './asked.ts';
import { eventFields } from './challenge-endings.ts';

/** Why no challenge was opened: each an event, and a fault that says what would help. */
export class OpeningRefusals {
  readonly #trail: Trail;

  constructor(trail: Trail) {
    this.#trail = trail;
  }

  policyDenies(asked: Asked): Fault {
    const { rule } = asked.decision;
    return this.#refuse(
      asked,
      new Fault('denied', 'POLICY_DENIED', 'the policy denies this action', { metadata: { rule } }),
    );
  }

  needsSession(asked: Asked): Fault {
    const message = 'the policy asks for a session; give its token';
    const { rule } = asked.decision;
    return this.#refuse(asked, new Fault('unauthenticated', 'SESSION_INVALID', message, { metadata: { rule } }));
  }

  notEnrolled(asked: Asked, wouldDo: readonly Method[]): Fault {
    const details: FaultDetails = {
      metadata: { rule: asked.decision.rule, methods: wouldDo.join(',') },
      preconditions: wouldDo.map((name) => ({
        type: 'MFA_NOT_ENROLLED',
        subject: name,
        description: `a ${name} factor would do`,
      })),
    };
    const message = 'no enrolled factor would do; enrol one first';
    return this.#refuse(asked, new Fault('precondition', 'MFA_NOT_ENROLLED', message, details));
  }

  notOffered(asked: Asked, method: Method): Fault {
    const message = `${method} does not satisfy the policy here; choose one of the offered methods or name none`;
    return this.#refuse(
      asked,
      new Fault('precondition', 'METHOD_NOT_OFFERED', message, {
        metadata: { method, rule: asked.decision.rule },
        preconditions: [{ type: 'METHOD_NOT_OFFERED', subject: method, description: 'is not offered' }],
      }),
    );
  }

  /** `retryAfterMs` undefined after the hard stop; `open` are methods that could be used all the same. */
  locked(asked: Asked, retryAfterMs: DurationMs | undefined, open: readonly Method[]): Fault {
    return this.#refuse(asked, subjectLocked(retryAfterMs, open.length === 0 ? {} : { methods: open.join(',') }));
  }

  reused(asked: Asked, challenge: Challenge): Fault {
    this.#notStored(asked, challenge, 'request.refused', 'REQUEST_ID_REUSED');
    return requestIdReused();
  }

  tooMany(asked: Asked, challenge: Challenge, max: number): Fault {
    this.#notStored(asked, challenge, 'limit.hit', 'LIMIT_EXCEEDED');
    return new Fault('limited', 'LIMIT_EXCEEDED', 'too many open challenges; finish or cancel one first', {
      quota: { subject: 'open_challenges', description: `at most ${max} open challenges per person` },
    });
  }

  #refuse(asked: Asked, fault: Fault): Fault {
    const { caller, command, subject, session } = asked;
    const method = fault.reason === 'METHOD_NOT_OFFERED' ? fault.details.metadata?.['method'] : undefined;
    this.#trail.refused(
      this.#trail.draft('request.refused', caller, {
        realm: command.realm,
        outcome: 'REFUSED',
        reason: fault.reason,
        actionDigest: actionDigest(command.realm, subject, command.action),
        facts: { ...decisionFacts(asked), ...(method === undefined ? {} : { method }) },
        ...personOf(subject, session, command.client),
      }),
    );
    return fault;
  }

  #notStored(asked: Asked, challenge: Challenge, type: 'request.refused' | 'limit.hit', reason: string): void {
    const { challengeId: _neverStored, ...fields } = eventFields(challenge);
    this.#trail.refused(
      this.#trail.draft(type, asked.caller, {
        ...fields,
        outcome: 'REFUSED',
        reason,
        facts: { limit: 'open_challenges', ...decisionFacts(asked) },
      }),
    );
  }
}
