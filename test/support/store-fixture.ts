import type { PlainStores } from '#src/adapters/sql/stores.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import { REALM } from './store-samples.ts';

/** What a contract suite runs over: every store of one backend, and the trail that its events go to. */
export interface StoreFixture extends PlainStores {
  readonly challenges: ChallengeStore;
  readonly sessions: SessionStore;
  readonly audit: Pick<AuditLog, 'query'>;
  /** Closes everything and opens it again over the same data. */
  restart(): Promise<StoreFixture>;
  close(): Promise<void>;
}

export type MakeStores = () => Promise<StoreFixture>;

/** The types of a person's events, oldest first. */
export async function trailOf(stores: StoreFixture, subject: string): Promise<readonly string[]> {
  const events = await stores.audit.query({ realm: REALM, subject }, 500);
  return events.map(({ type }) => type).toReversed();
}
