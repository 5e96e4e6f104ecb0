import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog, BufferStatus, EventFilter, EventPosition, Verdict } from '#src/ports/audit.ts';

export interface LocalAuditLogOptions {
  readonly executor: SqlExecutor;
  readonly file: AuditFile;
}

/** The trail over the audit file: appends share commits with everything else, reads go straight to the file. */
export class LocalAuditLog implements Omit<AuditLog, 'onAppend'> {
  readonly #executor: SqlExecutor;
  readonly #file: AuditFile;

  constructor(options: LocalAuditLogOptions) {
    this.#executor = options.executor;
    this.#file = options.file;
  }

  append(events: readonly EventDraft[]): Promise<void> {
    return this.#executor.unit((tx) => tx.record(...events));
  }

  async query(filter: EventFilter, limit: number, before?: EventPosition) {
    return this.#file.query(filter, limit, before);
  }

  async after(filter: EventFilter, position: EventPosition, limit: number) {
    return this.#file.after(filter, position, limit);
  }

  async head(): Promise<EventPosition> {
    return this.#file.head().position;
  }

  verify(chainId: string): Promise<Verdict> {
    return verifyInSteps(this.#file, chainId);
  }

  async exportPage(range: Parameters<AuditLog['exportPage']>[0], cursor: string) {
    return await this.#file.exportPage(range, cursor);
  }

  async status(): Promise<BufferStatus> {
    return this.#file.status();
  }
}

/** Between steps the thread goes on with its other work. */
export async function verifyInSteps(file: Pick<AuditFile, 'verifying'>, chainId: string): Promise<Verdict> {
  const steps = file.verifying(chainId);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    await nextTurn();
  }
}
