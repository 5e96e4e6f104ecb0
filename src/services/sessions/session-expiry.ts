import { livenessAt, type Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { SessionEndings } from './session-endings.ts';
import type { SessionUses } from './session-uses.ts';

export interface SessionExpiryDependencies {
  readonly store: Pick<SessionStore, 'due' | 'purge'>;
  readonly endings: SessionEndings;
  readonly uses: SessionUses;
  readonly clock: Clock;
  readonly log: Log;
  /** Time between two sweeps. */
  readonly sweepMs: DurationMs;
  /** Ended sessions and revocations are kept for this long. */
  readonly retentionMs: DurationMs;
  /** Sessions per step. */
  readonly batch: number;
}

/** Ends sessions whose time is up, with their events, also when nobody asks for them. */
export class SessionExpiry {
  readonly #deps: SessionExpiryDependencies;
  #cancel: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: SessionExpiryDependencies) {
    this.#deps = deps;
  }

  start(): void {
    this.#stopped = false;
    this.#arm();
  }

  /** Resolves when the sweep under way, if any, is through. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    return this.#running;
  }

  /** One sweep: everything that is due now. Answers how many sessions it ended. */
  async sweep(): Promise<number> {
    const { store, endings, uses, clock, batch, retentionMs } = this.#deps;
    // Read before the flush: what is idle at this instant cannot have been used after it.
    const now = clock.now();
    await uses.flush();
    let ended = 0;
    for (;;) {
      const due = await store.due(now, batch);
      let progress = 0;
      for (const { realm, reason, sessionIds } of grouped(due, now)) {
        progress += (await endings.end(realm, { kind: 'ids', sessionIds }, reason, undefined)).length;
      }
      ended += progress;
      if (due.length < batch || progress === 0 || this.#stopped) break;
    }
    await store.purge(now - retentionMs, batch);
    return ended;
  }

  #arm(): void {
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.schedule(this.#deps.sweepMs, () => {
      this.#running = this.sweep()
        .then(() => {})
        .catch((error: unknown) => {
          this.#deps.log.warn('sessions could not be swept; trying again', { error: String(error) });
        })
        .finally(() => this.#arm());
    });
  }
}

interface Group {
  readonly realm: string;
  readonly reason: 'EXPIRED' | 'IDLE';
  readonly sessionIds: string[];
}

function grouped(due: readonly Session[], now: number): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const session of due) {
    const liveness = livenessAt(session, now);
    if (liveness.alive || (liveness.reason !== 'EXPIRED' && liveness.reason !== 'IDLE')) continue;
    const key = `${liveness.reason}\n${session.realm}`;
    const group = groups.get(key) ?? { realm: session.realm, reason: liveness.reason, sessionIds: [] };
    group.sessionIds.push(session.id);
    groups.set(key, group);
  }
  return [...groups.values()];
}
