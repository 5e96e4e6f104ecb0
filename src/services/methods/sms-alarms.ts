import { type DurationMs, type EpochMs, MINUTE } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';

/** A brake that an operator has to know of. */
export interface SmsBrake {
  readonly realm: string;
  /** As in SendLimit. */
  readonly name: string;
  /** '' when it holds for every country. */
  readonly country: string;
  readonly windowMs: DurationMs;
}

export interface SmsAlarmsDependencies {
  readonly ledger: Pick<SendLedger, 'reserve' | 'clear'>;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly log: Log;
}

/** Around a limit single messages pass and are refused in turn: only this long without a refusal is "resumed". */
const CALM: DurationMs = MINUTE;

/**
 * Tells once that no more messages are sent, and once that they are again, however many are refused in between and
 * however many sidecars refuse them: which of them tells is settled in the ledger.
 */
export class SmsAlarms {
  readonly #deps: SmsAlarmsDependencies;
  /** Brakes that refuse, as far as this sidecar has seen, and when they last did. */
  readonly #refusing = new Map<string, { readonly brake: SmsBrake; at: EpochMs }>();

  constructor(deps: SmsAlarmsDependencies) {
    this.#deps = deps;
  }

  async refused(brake: SmsBrake, retryAfterMs: DurationMs): Promise<void> {
    const { clock, log } = this.#deps;
    const known = this.#refusing.get(scopeOf(brake));
    if (known) {
      known.at = clock.now();
      return;
    }
    this.#refusing.set(scopeOf(brake), { brake, at: clock.now() });
    if (!(await this.#mayTell(brake, 'sms.stopped', brake.windowMs))) return;
    const { realm, name, country } = brake;
    log.error('no more SMS are sent: a brake against fraud holds them', { realm, limit: name, country, retryAfterMs });
  }

  /** A message of the realm to the country was let through. */
  async passed(realm: string, country: string): Promise<void> {
    const { ledger, clock } = this.#deps;
    for (const [scope, { brake, at }] of this.#refusing) {
      const concerns = brake.realm === realm && (brake.country === '' || brake.country === country);
      if (!concerns || at + CALM > clock.now()) continue;
      this.#refusing.delete(scope);
      await ledger.clear(realm, [`${scope}:sms.stopped`]);
      await this.#mayTell(brake, 'sms.resumed', CALM);
    }
  }

  /** The first of all sidecars to ask; the event is recorded with that. */
  async #mayTell(brake: SmsBrake, type: 'sms.stopped' | 'sms.resumed', windowMs: DurationMs): Promise<boolean> {
    const { ledger, trail, clock } = this.#deps;
    const { realm, name, country } = brake;
    const outcome = type === 'sms.stopped' ? 'REFUSED' : 'INFO';
    const facts = { limit: name, ...(country === '' ? {} : { country }) };
    const told = await ledger.reserve({
      realm,
      limits: [{ scope: `${scopeOf(brake)}:${type}`, name: 'sms_alarm', max: 1, windowMs }],
      ratios: [],
      now: clock.now(),
      events: [trail.draft(type, undefined, { realm, outcome, method: 'sms', reason: 'LIMIT_EXCEEDED', facts })],
    });
    return told.outcome === 'reserved';
  }
}

function scopeOf({ realm, name, country }: SmsBrake): string {
  return `sms:alarm:${realm}:${name}:${country}`;
}
