import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog, EventTally } from '#src/ports/audit.ts';

/** Takes events and keeps them to be looked at; it cannot be read like the real one. */
export class RecordingAudit implements AuditLog {
  readonly events: EventDraft[] = [];
  /** Thrown by `append` while set. */
  failure: Error | undefined;
  readonly #listeners = new Set<(written: readonly EventTally[]) => void>();

  async append(events: readonly EventDraft[]): Promise<void> {
    await Promise.resolve();
    if (this.failure) throw this.failure;
    this.events.push(...events);
    for (const listener of this.#listeners) listener([]);
  }

  onAppend(listener: (written: readonly EventTally[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async head(): Promise<number> {
    return this.events.length;
  }

  readonly query = unread;
  readonly after = unread;
  readonly verify = unread;
  readonly exportPage = unread;
  readonly status = unread;
}

function unread(): Promise<never> {
  return Promise.reject(new Error('the recording audit log cannot be read'));
}
