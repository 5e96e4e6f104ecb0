import type { KeyRingData } from '#src/adapters/secrets/key-ring.ts';
import type { PlainStores } from '#src/adapters/sql/stores.ts';
import type { Gauge } from '#src/adapters/telemetry/tally.ts';
import type { Config } from '#src/config/schema.ts';
import type { EventOutcome, EventType } from '#src/domain/audit-event.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';

export interface StorageDependencies {
  readonly config: Config;
  readonly ring: KeyRingData;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The files of this sidecar are gone for good; the process has to stop. */
  readonly onFatal: (error: Error) => void;
  /** Is there once the storage is open: what comes before is nobody's session. */
  readonly metrics: () => Pick<Metrics, 'sessionEnded'> | undefined;
  /** Persons were erased by any sidecar, by mark (domain/erasure.ts). */
  readonly erased: (marks: ReadonlySet<string>) => void;
  /** Records an event of the sidecar itself, once there is a trail. */
  readonly note: (type: EventType, outcome: EventOutcome, facts: Readonly<Record<string, string>>) => void;
}

/** Where state lives: on the disk of this sidecar alone, or shared with others. */
export interface Storage extends AsyncDisposable {
  readonly stores: PlainStores & { readonly challenges: ChallengeStore; readonly sessions: SessionStore };
  readonly audit: AuditLog;
  /** Tells what has become durable on the disk of this sidecar; `audit.onAppend` tells of all sidecars. */
  readonly onDurable: AuditLog['onAppend'];
  readonly signals: Signals;
  readonly dependencies: Dependencies;
  readonly gauges: readonly Gauge[];
}
