import { couldHelpToResend } from '#src/domain/sms-failure.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SmsCallback, SmsReport, SmsReports } from '#src/ports/senders.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { DeliveryNotes } from './sms.ts';
import type { SmsCallbackLinks, SmsReference } from './sms-callback-links.ts';

export interface SmsCallbacksDependencies {
  readonly reports: SmsReports;
  readonly links: SmsCallbackLinks;
  readonly challenges: Pick<ChallengeStore, 'read'>;
  readonly deliveries: DeliveryNotes;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Reports are repeated within minutes, if at all. */
const MAX_REMEMBERED = 2_048;

/** Takes what the provider says became of messages: in any order, more than once, through any sidecar. */
export class SmsCallbacks {
  readonly #deps: SmsCallbacksDependencies;
  /** Message and status of what was taken, for the count; what is noted is right without it. */
  readonly #taken = new Set<string>();

  constructor(deps: SmsCallbacksDependencies) {
    this.#deps = deps;
  }

  /** False when the signature is not the provider's; then nothing happened. Throws when it has to be called again. */
  async receive(_visit: unknown, callback: SmsCallback): Promise<boolean> {
    const { reports, links, log } = this.#deps;
    const report = await reports.read(callback);
    if (!report) return false;
    const about = links.read(callback.url);
    if (!about) {
      log.warn('the SMS provider reports on a message that this sidecar knows nothing of', { status: report.status });
      return true;
    }
    const key = `${report.providerId}\n${report.status}`;
    if (report.status === 'UNCHANGED' || this.#taken.has(key)) return true;
    await this.#note(about, report);
    this.#remember(key);
    this.#count(report);
    return true;
  }

  async #note({ realm, challengeId, factorId, deliveryId }: SmsReference, report: SmsReport): Promise<void> {
    const { challenges, deliveries, clock } = this.#deps;
    const { status, reason } = report;
    const challenge = challengeId === '' ? undefined : await challenges.read(realm, challengeId);
    if (!challenge || status === 'UNCHANGED') return;
    await deliveries.note(challenge, {
      id: deliveryId,
      method: 'sms',
      factorId,
      status,
      reason,
      resendable: status === 'FAILED' && couldHelpToResend(reason),
      at: clock.now(),
    });
  }

  #count({ status, reason, code, config }: SmsReport): void {
    const { metrics, log } = this.#deps;
    if (config) log.error('the SMS provider does not deliver what this sidecar sends', { reason, code });
    if (status === 'DELIVERED') metrics.sms('delivered', '');
    if (status === 'FAILED') metrics.sms('undelivered', reason);
  }

  #remember(key: string): void {
    this.#taken.add(key);
    const [oldest] = this.#taken;
    if (this.#taken.size > MAX_REMEMBERED && oldest !== undefined) this.#taken.delete(oldest);
  }
}
