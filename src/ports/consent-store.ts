import type { EventDraft } from '../domain/audit-event.ts';
import type { Consent } from '../domain/factor.ts';
import type { Method } from '../domain/method.ts';
import type { EpochMs } from '../domain/time.ts';
import type { Repeat, RequestClaim } from './intents.ts';

/** What people agreed to, by method. */
export interface ConsentStore {
  /** Takes the place of an older one that stands (which is then withdrawn), and thaws what its withdrawal froze. */
  record(command: {
    readonly realm: string;
    readonly subject: string;
    readonly consent: Consent;
    readonly now: EpochMs;
    readonly request?: RequestClaim;
    /** Recorded with `recorded`. */
    readonly events: readonly EventDraft[];
    /** Recorded as well when a factor was thawed. */
    readonly thawedEvents: readonly EventDraft[];
  }): Promise<{ readonly outcome: 'recorded'; readonly thawed: number } | Repeat>;
  /** Freezes the person's factors of the method in the same step; what is pending goes. */
  withdraw(command: {
    readonly realm: string;
    readonly subject: string;
    readonly method: Method;
    readonly now: EpochMs;
    readonly request?: RequestClaim;
    /** Recorded with `withdrawn`. */
    readonly events: readonly EventDraft[];
    /** Recorded as well when a factor was frozen. */
    readonly frozenEvents: readonly EventDraft[];
  }): Promise<
    | { readonly outcome: 'withdrawn'; readonly consent: Consent; readonly frozen: number }
    | { readonly outcome: 'none' }
    | Repeat
  >;
  /** Oldest first, withdrawn ones too. */
  list(realm: string, subject: string): Promise<readonly Consent[]>;
}
