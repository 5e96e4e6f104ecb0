import type { DeliveryStatus } from '#src/domain/challenge.ts';
import { couldHelpToResend, type SmsFailure } from '#src/domain/sms-failure.ts';
import { type DurationMs, type EpochMs, SECOND } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { SendResult, SmsMessage, SmsSender } from '#src/ports/senders.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import { Pauses } from '../pauses.ts';

/** What became of a message so far. */
export interface SmsWord {
  readonly status: DeliveryStatus;
  /** One word with FAILED and UNKNOWN, and with QUEUED when it takes long; '' otherwise. */
  readonly reason: string;
  readonly resendable: boolean;
}

/** A message on its way. */
export interface SmsJob extends Omit<SmsMessage, 'validityMs'> {
  /** The challenge or pending factor that it is for: a newer message for the same takes its place. */
  readonly bearerId: string;
  /** After this it must not arrive any more. */
  readonly expiresAt: EpochMs;
  /** Whether anybody still waits for it; asked when it had to wait itself. */
  wanted(): Promise<boolean>;
  told(word: SmsWord): Promise<void>;
}

export interface SmsDeliveryDependencies {
  readonly sender: SmsSender;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Messages that may be here at once. */
  readonly maxWaiting: number;
}

interface Entry {
  readonly job: SmsJob;
  tries: number;
  waited: boolean;
  sending: boolean;
  settled: boolean;
  cancelRetry: () => void;
  cancelSlow: () => void;
}

/** Twilio recommends a validity above five seconds: what has less would only arrive dead. */
export const SHORTEST_LIFE: DurationMs = 6 * SECOND;
/** How long a message may take before another method is offered. */
const SLOW: DurationMs = 1.5 * SECOND;
const MAX_SENDING = 16;
const FIRST_BACKOFF: DurationMs = 200;
const LONGEST_BACKOFF: DurationMs = 10 * SECOND;
const STOP_GRACE: DurationMs = SECOND;
/** Between two attempts to note what became of a message. */
const LONGEST_PAUSE: DurationMs = 5 * SECOND;

/**
 * Sends in the background, within the life of what each message is for. Only what surely was not sent is sent again, with
 * full jitter; what may have been sent is told as UNKNOWN and left to the person.
 */
export class SmsDelivery {
  readonly #deps: SmsDeliveryDependencies;
  readonly #byBearer = new Map<string, Entry>();
  readonly #all = new Set<Entry>();
  readonly #ready: Entry[] = [];
  readonly #words = new Set<Promise<void>>();
  readonly #pauses: Pauses;
  #sending = 0;
  #onIdle: () => void = () => {};

  constructor(deps: SmsDeliveryDependencies) {
    this.#deps = deps;
    this.#pauses = new Pauses(deps.clock);
  }

  get isFull(): boolean {
    return this.#pauses.stopped || this.#all.size >= this.#deps.maxWaiting;
  }

  /** False when it is full, or stopping: then nothing is said of the message. */
  enqueue(job: SmsJob): boolean {
    const older = this.#byBearer.get(job.bearerId);
    // Its code is void already.
    if (older && !older.sending) this.#leave(older);
    if (this.isFull) return false;
    const { clock, metrics } = this.#deps;
    const entry: Entry = {
      job,
      tries: 0,
      waited: false,
      sending: false,
      settled: false,
      cancelRetry: () => {},
      cancelSlow: clock.schedule(SLOW, () => this.#tell(entry, { ...QUEUED, reason: 'DELAYED' })),
    };
    this.#all.add(entry);
    this.#byBearer.set(job.bearerId, entry);
    metrics.smsWaiting(1);
    this.#ready.push(entry);
    this.#pump();
    entry.waited = !entry.sending;
    return true;
  }

  /** What waits is told as not sent; what is being sent may finish within a second. */
  async stop(): Promise<void> {
    this.#pauses.stop();
    for (const entry of [...this.#all]) if (!entry.sending) this.#settle(entry, failed('STOPPING'));
    if (this.#all.size > 0) await this.#grace();
    for (const entry of [...this.#all])
      this.#settle(entry, { status: 'UNKNOWN', reason: 'NO_ANSWER', resendable: true });
    await Promise.all(this.#words);
  }

  #grace(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#deps.clock.schedule(STOP_GRACE, resolve);
      this.#onIdle = () => {
        cancel();
        resolve();
      };
    });
  }

  #pump(): void {
    while (this.#sending < MAX_SENDING) {
      const next = this.#ready.shift();
      if (!next) return;
      if (!next.settled) void this.#turn(next);
    }
  }

  async #turn(entry: Entry): Promise<void> {
    this.#sending += 1;
    entry.sending = true;
    const result = await this.#attempt(entry);
    entry.sending = false;
    this.#sending -= 1;
    if (result && !entry.settled) this.#take(entry, result);
    if (this.#all.size === 0) this.#onIdle();
    this.#pump();
  }

  async #attempt(entry: Entry): Promise<SendResult | undefined> {
    const { sender, clock } = this.#deps;
    const { job } = entry;
    if (entry.waited && !(await job.wanted().catch(() => true))) {
      this.#leave(entry);
      return undefined;
    }
    const validityMs = job.expiresAt - clock.now();
    if (validityMs < SHORTEST_LIFE) return { outcome: 'rejected', reason: 'TOO_LATE', code: '', config: false };
    const { to, body, callbackUrl } = job;
    entry.tries += 1;
    // A sender never rejects; if one did, nobody could say what came of it.
    return sender.send({ to, body, validityMs, callbackUrl }).catch(() => UNANSWERED);
  }

  #take(entry: Entry, result: SendResult): void {
    const word = result.outcome === 'retry' ? this.#again(entry, result) : this.#wordOf(result);
    if (word) this.#settle(entry, word);
  }

  #wordOf(result: Exclude<SendResult, { readonly outcome: 'retry' }>): SmsWord {
    if (result.outcome === 'accepted') return { status: 'SENT', reason: '', resendable: false };
    const { reason } = result;
    if (result.outcome === 'unknown') return { status: 'UNKNOWN', reason, resendable: true };
    const { code, config } = result;
    if (config) this.#deps.log.error('the SMS provider refuses what this sidecar is set up to send', { reason, code });
    return failed(reason);
  }

  /** Undefined when it will be tried again. */
  #again(
    entry: Entry,
    { reason, afterMs = 0 }: Extract<SendResult, { readonly outcome: 'retry' }>,
  ): SmsWord | undefined {
    const { clock, metrics } = this.#deps;
    const delay = afterMs + this.#jitter(entry.tries);
    const tooLate = clock.now() + delay + SHORTEST_LIFE > entry.job.expiresAt;
    if (this.#pauses.stopped || tooLate) return failed(reason);
    metrics.smsRetried();
    entry.waited = true;
    entry.cancelRetry = clock.schedule(delay, () => {
      this.#ready.push(entry);
      this.#pump();
    });
    return undefined;
  }

  /** Anything from nothing to twice as long as before. */
  #jitter(tries: number): DurationMs {
    const [a = 0, b = 0] = this.#deps.random.bytes(2);
    const longest = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** tries);
    return Math.floor((longest * (a * 256 + b)) / 65_536);
  }

  #settle(entry: Entry, word: SmsWord): void {
    if (entry.settled) return;
    this.#leave(entry);
    this.#deps.metrics.sms(OUTCOME[word.status], word.reason);
    this.#tell(entry, word);
  }

  #leave(entry: Entry): void {
    if (entry.settled) return;
    entry.settled = true;
    entry.cancelRetry();
    entry.cancelSlow();
    this.#all.delete(entry);
    if (this.#byBearer.get(entry.job.bearerId) === entry) this.#byBearer.delete(entry.job.bearerId);
    this.#deps.metrics.smsWaiting(-1);
  }

  #tell(entry: Entry, word: SmsWord): void {
    const telling = this.#say(entry, word);
    this.#words.add(telling);
    void telling.then(() => this.#words.delete(telling));
  }

  /** Again while the store is away and somebody may still wait, unless there is something newer to say. */
  async #say(entry: Entry, word: SmsWord): Promise<void> {
    const { clock, log } = this.#deps;
    for (let tries = 1; ; tries += 1) {
      try {
        return await entry.job.told(word);
      } catch (error) {
        if (tries === 1) {
          const about = { status: word.status, error: String(error) };
          log.warn('what became of an SMS could not be noted yet', about);
        }
        const delay = Math.min(LONGEST_PAUSE, tries * SECOND);
        const tooLate = clock.now() + delay >= entry.job.expiresAt;
        if (tooLate || !(await this.#pauses.wait(delay)) || (entry.settled && word.status === 'QUEUED')) return;
      }
    }
  }
}

const UNANSWERED: SendResult = { outcome: 'unknown', reason: 'NO_ANSWER' };
const QUEUED = { status: 'QUEUED', reason: '', resendable: false } as const;

const OUTCOME = {
  QUEUED: 'sent',
  SENT: 'sent',
  DELIVERED: 'sent',
  FAILED: 'failed',
  UNKNOWN: 'unknown',
} as const;

function failed(reason: SmsFailure | string): SmsWord {
  return { status: 'FAILED', reason, resendable: couldHelpToResend(reason) };
}
