import { type Challenge, type DeliveryStatus, isTerminal } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { pushPayload } from '#src/domain/push-payload.ts';
import { type DurationMs, type EpochMs, SECOND } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, KeyedDigest, Random } from '#src/ports/runtime.ts';
import type { PushMessage, PushResult, PushSender } from '#src/ports/senders.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { Deliveries } from '../challenges/deliveries.ts';
import { Pauses } from '../pauses.ts';
import type { Trail } from '../trail.ts';
import type { PushSecrets } from './push-secrets.ts';

export interface PushDispatchDependencies {
  readonly sender: PushSender;
  readonly deliveries: Pick<Deliveries, 'note'>;
  readonly factors: Pick<FactorStore, 'freeze'>;
  readonly secrets: PushSecrets;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Notifications on their way at once. */
  readonly maxInFlight: number;
}

/** One notification, noted as QUEUED. */
export interface PushJob {
  readonly challenge: Challenge;
  readonly factor: Factor;
  readonly deliveryId: string;
}

/** After so long without an outcome the person is offered something else; the notification may still come. */
const PATIENCE: DurationMs = 1_500;
const MAX_TRIES = 5;
const FIRST_BACKOFF: DurationMs = 250;
const LONGEST_BACKOFF: DurationMs = 8_000;
/** Nobody can answer what arrives with less than this left. */
const LEAST_LIFE: DurationMs = 2 * SECOND;
const NOTE_TRIES = 3;

/**
 * Sends notifications in the background. What a service puts off is tried again within the challenge's life; nothing is
 * lost by trying where nobody knows whether it was taken, since a notification of the same topic takes the place of the
 * one before. Retry-After holds back the device it was said of and no other: else one device could silence all.
 */
export class PushDispatch {
  readonly #deps: PushDispatchDependencies;
  readonly #running = new Set<Promise<void>>();
  readonly #pauses: Pauses;

  constructor(deps: PushDispatchDependencies) {
    this.#deps = deps;
    this.#pauses = new Pauses(deps.clock);
  }

  /** Whether no more can be taken now. */
  get isFull(): boolean {
    return this.#pauses.stopped || this.#running.size >= this.#deps.maxInFlight;
  }

  /** Ask `isFull` first. Never throws; tells of itself by Deliveries. */
  start(job: PushJob): void {
    const running = this.#run(job).catch(async (error: unknown) => {
      const { name } = error instanceof Error ? error : { name: 'unknown' };
      this.#deps.log.error('a notification was given up', { factorId: job.factor.id, error: name });
      await this.#note(job, 'FAILED', 'UNSENDABLE', false);
    });
    this.#running.add(running);
    void running.then(() => this.#running.delete(running));
  }

  /** What waits is given up and said to be; resolves once nothing is on its way any more. */
  async stop(): Promise<void> {
    this.#pauses.stop();
    await Promise.all(this.#running);
  }

  async #run(job: PushJob): Promise<void> {
    let reason = 'SLOW';
    const cancel = this.#deps.clock.schedule(PATIENCE, () => void this.#note(job, 'UNKNOWN', reason, true));
    try {
      for (let tries = 1; ; tries += 1) {
        const result = await this.#send(job);
        if (result.outcome === 'accepted') return void (await this.#note(job, 'SENT', '', true));
        if (result.outcome === 'gone') return await this.#gone(job);
        if (result.outcome === 'rejected') return await this.#rejected(job, result);
        reason = result.reason;
        const delay = this.#delay(result, tries);
        const tooLate = this.#deps.clock.now() + delay + LEAST_LIFE > job.challenge.expiresAt;
        if (tries < MAX_TRIES && !tooLate && (await this.#pauses.wait(delay)) && (await this.#isOpen(job, reason)))
          continue;
        const status = result.outcome === 'unknown' ? 'UNKNOWN' : 'FAILED';
        return void (await this.#note(job, status, this.#pauses.stopped ? 'INTERRUPTED' : reason, true));
      }
    } finally {
      cancel();
    }
  }

  async #send(job: PushJob): Promise<PushResult> {
    const { sender, metrics } = this.#deps;
    const result = await sender.send(this.#message(job, this.#deps.clock.now()));
    metrics.push(result.outcome, 'reason' in result ? result.reason : '');
    return result;
  }

  #message({ challenge, factor }: PushJob, now: EpochMs): PushMessage {
    const { realm, subject, id } = challenge;
    const topic = this.#deps.digest.digest('push.topic', `${realm}\n${subject}`);
    return {
      subscription: this.#deps.secrets.open(factor).subscription,
      payload: pushPayload({ challengeId: id, factorId: factor.id, realm }),
      ttlMs: Math.max(0, challenge.expiresAt - now),
      topic: Buffer.from(topic.subarray(0, 24)).toString('base64url'),
    };
  }

  /** Full jitter, and never before the service wants to be asked again. */
  #delay(result: PushResult, tries: number): DurationMs {
    const most = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** tries);
    const chance = Buffer.from(this.#deps.random.bytes(4)).readUInt32BE() / 2 ** 32;
    const asked = result.outcome === 'retry' ? (result.afterMs ?? 0) : 0;
    return asked + FIRST_BACKOFF + Math.floor(chance * (most - FIRST_BACKOFF));
  }

  /** The endpoint stays as a frozen factor: see FreezeReason in the API. */
  async #gone(job: PushJob): Promise<void> {
    const { factors, trail } = this.#deps;
    const { id: factorId, realm, subject } = job.factor;
    await this.#note(job, 'FAILED', 'UNREACHABLE', false);
    const reason = 'ENDPOINT_GONE';
    const fields = { realm, subject, factorId, method: 'push', reason } as const;
    await factors.freeze({
      ...{ realm, subject, factorId, methods: ['push'], reason },
      events: [
        trail.draft('factor.endpoint_gone', undefined, { ...fields, outcome: 'INFO' }),
        trail.draft('factor.frozen', undefined, { ...fields, outcome: 'SUCCESS' }),
      ],
    });
  }

  async #rejected(job: PushJob, result: Extract<PushResult, { readonly outcome: 'rejected' }>): Promise<void> {
    const { reason, code, config } = result;
    if (config)
      this.#deps.log.error('a push service refuses what this sidecar sends; look at the push settings', {
        reason,
        code,
      });
    await this.#note(job, 'FAILED', reason, false);
  }

  async #isOpen(job: PushJob, reason: string): Promise<boolean> {
    const challenge = await this.#note(job, 'QUEUED', reason, true);
    return challenge === undefined || !isTerminal(challenge.state);
  }

  /** Answers the challenge as it stands; undefined when that could not be learnt. */
  async #note(
    { challenge, factor, deliveryId }: PushJob,
    status: DeliveryStatus,
    reason: string,
    resendable: boolean,
  ): Promise<Challenge | undefined> {
    const { deliveries, clock, log } = this.#deps;
    const delivery = { id: deliveryId, method: 'push', factorId: factor.id, status, reason, resendable } as const;
    for (let tries = 1; tries <= NOTE_TRIES; tries += 1) {
      try {
        return await deliveries.note(challenge, { ...delivery, at: clock.now() });
      } catch {
        if (tries === NOTE_TRIES || !(await this.#pauses.wait(tries * SECOND))) break;
      }
    }
    log.warn('what became of a notification could not be noted', { challengeId: challenge.id, status });
    return undefined;
  }
}
