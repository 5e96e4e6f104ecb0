import { createHash } from 'node:crypto';
import type { Caller } from '#src/domain/caller.ts';
import { type Challenge, isTerminal, stateAt } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import { isUsable } from '#src/domain/method-offer.ts';
import { pushViewBytes } from '#src/domain/push-message.ts';
import { type DurationMs, MINUTE } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { PushSender } from '#src/ports/senders.ts';
import { eventFields } from '../challenges/challenge-endings.ts';
import type { Deliveries } from '../challenges/deliveries.ts';
import type { DeviceAnswer, Verification } from '../challenges/verification.ts';
import type { Confirmation } from '../factors/confirmation.ts';
import type { Trail } from '../trail.ts';
import type {
  AnswerApproval,
  ApprovalOutcome,
  ApprovalView,
  ConfirmedDevice,
  DeviceToConfirm,
  MadeDevice,
  PushDevices,
  PushVisit,
  ViewApproval,
} from './push-api.ts';
import { type PushProof, signedBytes } from './push-challenges.ts';
import type { PushEnrollments } from './push-enrollments.ts';
import type { PushNumbers } from './push-numbers.ts';
import type { PushSecrets } from './push-secrets.ts';
import type { PushTickets } from './push-tickets.ts';

export interface PushDeviceDependencies {
  readonly sender: Pick<PushSender, 'publicKey'>;
  readonly challenges: Pick<ChallengeStore, 'read'>;
  readonly factors: Pick<FactorStore, 'read'>;
  readonly codes: Pick<IssuedCodes, 'read'>;
  readonly deliveries: Pick<Deliveries, 'seen'>;
  readonly enrollments: PushEnrollments;
  readonly tickets: PushTickets;
  readonly numbers: PushNumbers;
  readonly secrets: PushSecrets;
  readonly trail: Trail;
  readonly confirmation: Pick<Confirmation, 'confirm'>;
  readonly verification: Pick<Verification, 'answerAsDevice'>;
  readonly clock: Clock;
  /** That this sidecar serves. */
  readonly realms: readonly string[];
}

/** How far the clock of a device may be off. A request that is sent again within this time shows the same once more. */
const MAX_SKEW: DurationMs = 5 * MINUTE;

/** See PushDevices. */
export class PushDeviceService implements PushDevices {
  readonly #deps: PushDeviceDependencies;

  constructor(deps: PushDeviceDependencies) {
    this.#deps = deps;
  }

  publicKey(): Promise<string> {
    return this.#deps.sender.publicKey();
  }

  async enroll(_visit: PushVisit, made: MadeDevice): Promise<DeviceToConfirm> {
    const { tickets, enrollments } = this.#deps;
    const factor = await tickets.open(made.ticket);
    const device = enrollments.read(made.subscriptionJson, made.devicePublicKey);
    const { id, realm, subject, displayName } = factor;
    return { factorId: id, realm, subject, displayName, challenge: enrollments.bytes(factor, device) };
  }

  async confirm(
    { caller, client }: PushVisit,
    made: MadeDevice & { readonly signature: Uint8Array },
  ): Promise<ConfirmedDevice> {
    const { tickets, confirmation } = this.#deps;
    const { id: factorId, realm, subject } = await tickets.open(made.ticket);
    const { subscriptionJson, devicePublicKey, signature } = made;
    const proof = { kind: 'push', signature, made: { subscriptionJson, devicePublicKey } } as const;
    const confirmed = await confirmation.confirm(caller, { realm, subject, factorId, proof, client, requestId: '' });
    return { displayName: confirmed.factor.displayName, backupCodes: confirmed.backupCodes };
  }

  async view(_visit: PushVisit, command: ViewApproval): Promise<ApprovalView | undefined> {
    const { numbers, deliveries, clock } = this.#deps;
    const factor = await this.#device(command);
    if (!factor || !this.#isFresh(command) || !this.#isSigned(factor, command)) return undefined;
    const challenge = await this.#sentTo(factor, command.challengeId);
    if (!challenge) return undefined;
    await deliveries.seen(challenge);
    const { subject, actionDigest, expiresAt } = challenge;
    const { resource, action, details } = challenge.action;
    return {
      ...{ subject, resource, action, details, actionDigest, expiresAt },
      digits: numbers.digits,
      now: clock.now(),
    };
  }

  async answer({ caller }: PushVisit, command: AnswerApproval): Promise<ApprovalOutcome> {
    const { realm, challengeId, factorId, number, approve, notMe, signature } = command;
    const proof: PushProof = { kind: 'push', factorId, number, approve, notMe, signature };
    if (!(await this.#isVouched(caller, { realm, challengeId, proof }))) return 'refused';
    // A browser that got no answer sends the same bytes again, and gets the first answer.
    const requestId = `push:${createHash('sha256').update(signature).digest('base64url')}`;
    try {
      const answered = await this.#deps.verification.answerAsDevice(caller, { realm, challengeId, proof, requestId });
      return answered.outcome === 'finished' ? outcomeOf(answered.challenge) : 'refused';
    } catch (error) {
      if (error instanceof Fault && REFUSALS.has(error.kind)) return 'refused';
      throw error;
    }
  }

  /**
   * Whether a device has signed this answer to this challenge, in use or not: strangers, who may send anything, get no
   * further, so that they write nothing and no answer of the person's own has to wait behind theirs.
   */
  async #isVouched(caller: Caller, { realm, challengeId, proof }: Omit<DeviceAnswer, 'requestId'>): Promise<boolean> {
    const { challenges, factors, realms, secrets, trail } = this.#deps;
    const { factorId, signature } = proof;
    if (!realms.includes(realm) || !isId('challenge', challengeId) || !isId('factor', factorId)) return false;
    const [challenge, factor] = await Promise.all([challenges.read(realm, challengeId), factors.read(realm, factorId)]);
    const known = factor?.method === 'push' && factor.sealedSecret.length > 0 && factor.subject === challenge?.subject;
    if (challenge && known && secrets.open(factor).key.verifies(signedBytes(challenge, proof), signature)) return true;
    const about = challenge ? eventFields(challenge) : { realm };
    const event = { ...about, outcome: 'REFUSED', reason: 'PROOF_WRONG', method: 'push' } as const;
    trail.refused(trail.draft('challenge.refused', caller, event));
    return false;
  }

  /** The device that the request names, while it is in use. */
  async #device({ realm, factorId }: ViewApproval): Promise<Factor | undefined> {
    if (!this.#deps.realms.includes(realm) || !isId('factor', factorId)) return undefined;
    const factor = await this.#deps.factors.read(realm, factorId);
    return factor?.method === 'push' && isUsable(factor) ? factor : undefined;
  }

  #isFresh({ at }: ViewApproval): boolean {
    return Number.isSafeInteger(at) && Math.abs(at - this.#deps.clock.now()) <= MAX_SKEW;
  }

  #isSigned(factor: Factor, { realm, factorId, challengeId, at, signature }: ViewApproval): boolean {
    const bytes = pushViewBytes({ realm, factorId, challengeId, issuedAt: at });
    return this.#deps.secrets.open(factor).key.verifies(bytes, signature);
  }

  /** The open challenge, if its notification went to this device last. */
  async #sentTo(factor: Factor, challengeId: string): Promise<Challenge | undefined> {
    const { challenges, codes, clock } = this.#deps;
    const { realm, subject, id } = factor;
    if (!isId('challenge', challengeId)) return undefined;
    const challenge = await challenges.read(realm, challengeId);
    const now = clock.now();
    if (challenge?.subject !== subject || isTerminal(stateAt(challenge, now))) return undefined;
    const code = await codes.read(realm, challengeId, 'push', now);
    return code?.factorId === id && code.subject === subject ? challenge : undefined;
  }
}

/** What the person learns no more of than that it was not taken. */
const REFUSALS: ReadonlySet<string> = new Set(['invalid', 'denied', 'not-found', 'precondition']);

function outcomeOf({ state }: Challenge): ApprovalOutcome {
  if (state === 'APPROVED') return 'approved';
  return state === 'DENIED' ? 'denied' : 'refused';
}
