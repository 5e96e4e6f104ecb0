import type { EventDraft } from '../domain/audit-event.ts';
import type { SendLimit, SendRatio } from '../domain/send-window.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';

export interface ReserveSend {
  readonly realm: string;
  /** Checked in this order; the first that is reached is named. */
  readonly limits: readonly SendLimit[];
  /** Breakers: reached when too few of the sends within the window came to anything. */
  readonly ratios: readonly SendRatio[];
  readonly now: EpochMs;
  /** Recorded with `reserved`. */
  readonly events: readonly EventDraft[];
}

/**
 * Counts messages and notifications over all sidecars: a send is counted before it is made, so a crash in between only
 * makes it stricter. Scopes are names that hold nothing personal: keyed digests where they stand for a person or number.
 */
export interface SendLedger {
  /** Counts one send against every limit, or against none of them. */
  reserve(
    command: ReserveSend,
  ): Promise<
    | { readonly outcome: 'reserved' }
    | { readonly outcome: 'limited'; readonly name: string; readonly retryAfterMs: DurationMs }
  >;
  /** Notes that a send came to something: a code was typed, a push answered. */
  credit(realm: string, scopes: readonly string[]): Promise<void>;
  /** Begins anew, for instance after a success. */
  clear(realm: string, scopes: readonly string[]): Promise<void>;
  /** Collects rubbish; answers how many rows went. */
  purge(before: EpochMs, limit: number): Promise<number>;
}
