import type { Notice } from '../domain/notice.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';

/** Notices that wait: written in the same step as the change they tell of, so that no change goes without its notice. */
export interface NoticeOutbox {
  /** Takes up to `limit` that are due; nobody else gets them before `leaseMs` is over. Oldest first. `tries` counts this one. */
  lease(now: EpochMs, leaseMs: DurationMs, limit: number): Promise<readonly (Notice & { readonly tries: number })[]>;
  /** They are sent, or given up. Answers how many waited until now: none of somebody who was erased meanwhile. */
  done(ids: readonly string[]): Promise<number>;
  /** Tried again at `dueAt`. */
  retry(id: string, dueAt: EpochMs): Promise<void>;
}

/** A notice on its way to the person. */
export interface OutgoingNotice extends Notice {
  /** Opens a page that locks the account; '' when there is no public listener. */
  readonly notMeUrl: string;
}

/** Tells a person, or the application that does. */
export interface NoticeSender {
  /**
   * `unreachable`: there is no way to tell this person. Rejects when it was not taken; it is tried again then. Bounded in
   * time by itself.
   */
  send(notice: OutgoingNotice): Promise<'sent' | 'unreachable'>;
}
