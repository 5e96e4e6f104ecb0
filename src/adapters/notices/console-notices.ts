import type { NoticeSender, OutgoingNotice } from '#src/ports/notices.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { payloadOf } from './notice-payload.ts';

/** Writes notices into the log, for trying out; production refuses it, since it tells nobody and names people. */
export class ConsoleNotices implements NoticeSender {
  readonly #log: Pick<Log, 'warn'>;

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log;
  }

  async send(notice: OutgoingNotice): Promise<'sent'> {
    this.#log.warn('a person would be told of a change', { ...payloadOf(notice) });
    return 'sent';
  }
}
