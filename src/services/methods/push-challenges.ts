import type { Caller } from '#src/domain/caller.ts';
import { type Challenge, LONGEST_LIFE } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { type DeviceKey, readDeviceKey } from '#src/domain/push-device-key.ts';
import { type PushAnswer, pushAnswerBytes } from '#src/domain/push-message.ts';
import { isSameBytes } from '#src/domain/same-bytes.ts';
import { DAY, type DurationMs, type EpochMs, MINUTE } from '#src/domain/time.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import { eventFields } from '../challenges/challenge-endings.ts';
import type { Deliveries } from '../challenges/deliveries.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';
import type { Trail } from '../trail.ts';
import type { ChallengeMethod, PromptView } from './contract.ts';
import type { PushDispatch } from './push-dispatch.ts';
import type { PushNumbers } from './push-numbers.ts';
import type { PushSecrets } from './push-secrets.ts';

export interface PushLimits {
  /** Notifications to one person within five minutes. */
  readonly maxPerWindow: number;
  /** Notifications to one person since the last approval, within a day. */
  readonly maxUnanswered: number;
}

export interface PushChallengeDependencies {
  readonly limits: PushLimits;
  readonly numbers: PushNumbers;
  readonly secrets: PushSecrets;
  readonly dispatch: Pick<PushDispatch, 'isFull' | 'start'>;
  readonly deliveries: Pick<Deliveries, 'note'>;
  readonly codes: Pick<IssuedCodes, 'issue' | 'read'>;
  readonly ledger: Pick<SendLedger, 'reserve' | 'clear'>;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export type PushProof = Extract<Proof, { readonly kind: 'push' }>;

const WINDOW: DurationMs = 5 * MINUTE;
const FIRST = 'push_first';
const NO_CHALLENGE = { id: '', realm: '', subject: '', actionDigest: '' };
const WRONG: ProofVerdict = { outcome: 'wrong' };
/** A key that nobody has in use, the base point of P-256, so that there is something to verify where there is no device. */
const NOBODY =
  '3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5';

/**
 * Push approval with number matching. An answer counts only from the device that the notification was sent to: the number
 * belongs to challenge and device, so that what one device was shown cannot be approved by another that lies elsewhere.
 * Whoever holds another one chooses that.
 */
export class PushChallenges implements ChallengeMethod {
  readonly method = 'push';
  readonly #deps: PushChallengeDependencies;
  readonly #nobody: DeviceKey | undefined = readDeviceKey(Buffer.from(NOBODY, 'hex'));

  constructor(deps: PushChallengeDependencies) {
    this.#deps = deps;
  }

  async prompt(caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView> {
    const { dispatch, deliveries, ledger, random, clock } = this.#deps;
    if (dispatch.isFull) {
      this.#deps.metrics.push('limited', 'push_queue');
      throw new Fault('unavailable', 'DELIVERY_FAILED', 'too many notifications are on their way; choose again', {
        retryAfterMs: 1_000,
      });
    }
    const sends = await this.#reserve(caller, challenge, factor, again);
    if (!sends) return this.#issue(challenge, factor);
    try {
      const view = await this.#issue(challenge, factor);
      const deliveryId = newId('delivery', random.bytes(16));
      const queued = { status: 'QUEUED', reason: '', resendable: true, at: clock.now() } as const;
      await deliveries.note(challenge, { id: deliveryId, method: 'push', factorId: factor.id, ...queued });
      dispatch.start({ challenge, factor, deliveryId });
      return view;
    } catch (error) {
      // Whoever chooses again must not be shown a number without a notification. If this fails too, `again` still sends.
      await ledger.clear(challenge.realm, [firstScope(challenge, factor)]).catch(() => {});
      throw error;
    }
  }

  async pretend(challenge: Challenge, factor: Factor): Promise<PromptView> {
    return { method: 'push', factorId: factor.id, number: this.#deps.numbers.of(challenge, factor.id) };
  }

  async isGuess(challenge: Challenge, factors: readonly Factor[], proof: Proof): Promise<boolean> {
    return proof.kind === 'push' && proof.approve && this.#signer(challenge, factors, proof) !== undefined;
  }

  async check(challenge: Challenge, factors: readonly Factor[], proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    if (proof.kind !== 'push') return WRONG;
    const { codes, numbers } = this.#deps;
    const { realm, subject, id } = challenge;
    const factor = this.#signer(challenge, factors, proof);
    const code = await codes.read(realm, id, 'push', now);
    const digest = numbers.digestOf(challenge, proof.factorId, proof.number);
    const { factorId } = proof;
    if (!factor || !code || code.subject !== subject || code.factorId !== factorId) return WRONG;
    if (!proof.approve)
      return { outcome: 'denied', reason: proof.notMe ? 'NOT_ME' : 'DENIED', method: 'push', factorId };
    if (!isSameBytes(digest, code.digest))
      return { outcome: 'denied', reason: 'NUMBER_WRONG', method: 'push', factorId };
    await this.#answered(realm, subject);
    return { outcome: 'right', claim: { kind: 'issued', method: 'push', factorId, digest }, method: 'push', factorId };
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind !== 'push') return;
    this.#nobody?.verifies(signedBytes(NO_CHALLENGE, proof), proof.signature);
    this.#deps.numbers.digestOf({ id: '' }, proof.factorId, proof.number);
    await this.#deps.codes.read('', '', 'push', 0);
  }

  /** The device that signed this answer to this challenge, if it is one of these. */
  #signer(challenge: Challenge, factors: readonly Factor[], proof: PushProof) {
    const factor = factors.find((candidate) => candidate.id === proof.factorId);
    const key = factor ? this.#deps.secrets.open(factor).key : this.#nobody;
    const good = key?.verifies(signedBytes(challenge, proof), proof.signature) ?? false;
    return good && !(proof.approve && proof.notMe) ? factor : undefined;
  }

  /**
   * Counts the notification against every cap before it is made. False when it was made before: of any number of callers
   * that choose the device, in any sidecar, one sends.
   */
  async #reserve(caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<boolean> {
    const { ledger, limits, metrics, clock, trail } = this.#deps;
    const { realm, subject } = challenge;
    const person = this.#person(realm, subject);
    const once = { scope: firstScope(challenge, factor), name: FIRST, max: 1, windowMs: LONGEST_LIFE };
    const reserved = await ledger.reserve({
      realm,
      limits: [
        ...(again ? [] : [once]),
        { scope: `push:window:${person}`, name: 'push_per_window', max: limits.maxPerWindow, windowMs: WINDOW },
        { scope: `push:unanswered:${person}`, name: 'push_unanswered', max: limits.maxUnanswered, windowMs: DAY },
      ],
      ratios: [],
      now: clock.now(),
      events: [],
    });
    if (reserved.outcome === 'reserved') return true;
    if (reserved.name === FIRST) return false;
    metrics.push('limited', reserved.name);
    const facts = { limit: reserved.name };
    const fields = { ...eventFields(challenge), outcome: 'REFUSED', reason: 'LIMIT_EXCEEDED', method: 'push' } as const;
    trail.refused(trail.draft('limit.hit', caller, { ...fields, factorId: factor.id, facts }));
    throw new Fault('limited', 'LIMIT_EXCEEDED', 'the person got too many notifications; choose another method', {
      retryAfterMs: reserved.retryAfterMs,
      quota: { subject: reserved.name, description: 'bounds the notifications to one person' },
    });
  }

  async #issue(challenge: Challenge, factor: Factor): Promise<PromptView> {
    const { codes, numbers, clock } = this.#deps;
    const { realm, subject, id, expiresAt } = challenge;
    const number = numbers.of(challenge, factor.id);
    await codes.issue({
      ...{ realm, subject, bearerId: id, method: 'push', factorId: factor.id },
      digest: numbers.digestOf(challenge, factor.id, number),
      sealed: new Uint8Array(),
      issuedAt: clock.now(),
      expiresAt,
    });
    return { method: 'push', factorId: factor.id, number };
  }

  /** Somebody is there who answers; that this could not be noted takes nothing from the answer. */
  async #answered(realm: string, subject: string): Promise<void> {
    try {
      await this.#deps.ledger.clear(realm, [`push:unanswered:${this.#person(realm, subject)}`]);
    } catch {
      this.#deps.log.warn('the count of unanswered notifications could not be cleared');
    }
  }

  #person(realm: string, subject: string): string {
    return Buffer.from(this.#deps.digest.digest('push.person', `${realm}\n${subject}`)).toString('base64url');
  }
}

/** Counts what is sent when a device is chosen, for each challenge once. */
function firstScope(challenge: Challenge, factor: Factor): string {
  return `push:first:${challenge.id}:${factor.id}`;
}

/** What a device has to have signed for the proof to be its own, about this challenge. */
export function signedBytes(
  { id: challengeId, realm, subject, actionDigest }: Pick<Challenge, 'id' | 'realm' | 'subject' | 'actionDigest'>,
  { factorId, number, approve, notMe }: PushProof,
): Uint8Array {
  const said: PushAnswer = notMe ? 'not_me' : 'deny';
  return pushAnswerBytes({
    ...{ challengeId, factorId, realm, subject, actionDigest, number },
    answer: approve ? 'approve' : said,
  });
}
