import type { AuditFile } from '#src/adapters/audit/contract.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog, EventFilter, EventTally } from '#src/ports/audit.ts';

/** The trail over a real audit file in the same thread, one commit per append. */
export class AuditLogOverFile implements AuditLog {
  readonly #file: AuditFile;
  readonly #listeners = new Set<(written: readonly EventTally[]) => void>();

  constructor(file: AuditFile) {
    this.#file = file;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  async append(events: readonly EventDraft[]): Promise<void> {
    this.#file.stage(events);
    this.#file.commit();
    for (const listener of this.#listeners) listener([]);
  }

  onAppend(listener: (written: readonly EventTally[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  query = async (filter: EventFilter, limit: number, before?: number) => this.#file.query(filter, limit, before);
  after = async (filter: EventFilter, position: number, limit: number) => this.#file.after(filter, position, limit);
  head = async () => this.#file.head().position;
  verify = async (chainId: string) => this.#file.verify(chainId);
  exportPage = async (...all: Parameters<AuditLog['exportPage']>) => this.#file.exportPage(...all);
  status = async () => this.#file.status();
}
