import { Fault } from '../../domain/faults.ts';
import type { DurationMs, EpochMs } from '../../domain/time.ts';
import type { DependencyName, DependencyState } from '../../ports/dependencies.ts';
import type { Clock, Random } from '../../ports/runtime.ts';
import type { Log } from '../../ports/telemetry.ts';

export interface BreakerOptions {
  readonly name: DependencyName;
  /** Failures in a row after which nobody waits for it any more. */
  readonly failures: number;
  /** About how often a dependency that is away is tried. */
  readonly probeMs: DurationMs;
  /** One try; resolves when the dependency serves. Has its own time-out. */
  readonly probe: () => Promise<void>;
  /** Whether an error means that the dependency is away, rather than that it refused. */
  readonly isOutage: (error: unknown) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Keeps calls from waiting for a dependency that is away: after some failures in a row all calls are refused at once, while
 * one probe at a time finds out when it is back.
 */
export class Breaker {
  readonly #options: BreakerOptions;
  readonly #listeners = new Set<(state: DependencyState) => void>();
  #state: DependencyState;
  #failures = 0;
  /** When the last failure was counted, by the monotonic clock. */
  #failedAt = Number.NEGATIVE_INFINITY;
  #cancelProbe: (() => void) | undefined;
  #closed = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#state = { name: options.name, up: true, since: options.clock.now() };
  }

  get state(): DependencyState {
    return this.#state;
  }

  get up(): boolean {
    return this.#state.up;
  }

  onChange(listener: (state: DependencyState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Rejects at once with Fault(unavailable) while the dependency is away; otherwise as `work` does. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const state = this.#state;
    if (!state.up) throw this.refusal();
    const begun = this.#options.clock.monotonic();
    // What was begun before an outage says nothing of the time after it.
    const isOfNow = () => this.#state === state;
    try {
      const value = await work();
      if (isOfNow()) this.#failures = 0;
      return value;
    } catch (error) {
      // Calls that waited side by side met the same moment of trouble: together they count once.
      if (isOfNow() && begun >= this.#failedAt && this.#options.isOutage(error)) this.#failed(error);
      throw error;
    }
  }

  /** For what is known without a call: the connection is gone. */
  trip(cause: unknown): void {
    if (!this.#state.up || this.#closed) return;
    const { name, log } = this.#options;
    log.error(`${name} is away; going on without it`, { error: String(cause) });
    this.#become(false);
    this.#scheduleProbe();
  }

  refusal(cause?: unknown): Fault {
    const { name, probeMs } = this.#options;
    return new Fault('unavailable', 'STORE_UNAVAILABLE', `${name} is away; try again in a moment`, {
      retryAfterMs: Math.max(probeMs, 1_000),
      metadata: { dependency: name },
      ...(cause === undefined ? {} : { cause }),
    });
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#cancelProbe?.();
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    this.#failedAt = this.#options.clock.monotonic();
    if (this.#failures >= this.#options.failures) this.trip(error);
  }

  #become(up: boolean): void {
    this.#failures = 0;
    this.#state = { name: this.#options.name, up, since: this.#options.clock.now() };
    for (const listener of [...this.#listeners]) {
      try {
        listener(this.#state);
      } catch (error) {
        this.#options.log.error('a listener to an outage failed', { error: String(error) });
      }
    }
  }

  #scheduleProbe(): void {
    const { clock, probeMs, random } = this.#options;
    // Between half and one and a half times, so that a fleet does not come back in one moment.
    const jitter = 0.5 + (random.bytes(1)[0] ?? 0) / 255;
    this.#cancelProbe = clock.schedule(probeMs * jitter, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    const { name, log, probe } = this.#options;
    try {
      await probe();
    } catch {
      if (!this.#closed) this.#scheduleProbe();
      return;
    }
    if (this.#closed) return;
    log.warn(`${name} is back`, {});
    this.#become(true);
  }
}

/** How long a dependency has been away at `now`; 0 while it is up. */
export function awayFor(state: DependencyState | undefined, now: EpochMs): DurationMs {
  return state === undefined || state.up ? 0 : Math.max(0, now - state.since);
}
