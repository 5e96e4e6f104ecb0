import { ConsoleNotices } from '#src/adapters/notices/console-notices.ts';
import { WebhookNotices } from '#src/adapters/notices/webhook-notices.ts';
import type { Config } from '#src/config/schema.ts';
import { SECOND } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { NoticeOutbox, NoticeSender } from '#src/ports/notices.ts';
import type { Clock, KeyedDigest, Random } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { NotMeLinks } from '#src/services/notices/not-me-links.ts';
import { NoticeDelivery } from '#src/services/notices/notice-delivery.ts';
import { SmsNotices } from '#src/services/notices/sms-notices.ts';
import type { Trail } from '#src/services/trail.ts';
import type { SmsServices } from './sms.ts';

/** How often to look for what a crash, another sidecar or a failing channel left. */
const LOOK_ALONE = 5 * SECOND;
const LOOK_SHARED = 30 * SECOND;
const LEASE = 30 * SECOND;

export interface NoticeDependencies {
  readonly config: Config;
  readonly outbox: NoticeOutbox;
  /** Absent while SMS is off. */
  readonly sms: Pick<SmsServices, 'sender' | 'numbers'> | undefined;
  readonly factors: FactorStore;
  readonly ledger: SendLedger;
  readonly digest: KeyedDigest;
  readonly links: NotMeLinks;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Undefined where nobody is told of anything. */
export function composeNotices(deps: NoticeDependencies): NoticeDelivery | undefined {
  const { notices, postgres } = deps.config;
  const sender = senderFor(deps);
  if (!sender) return undefined;
  return new NoticeDelivery({
    ...deps,
    sender,
    channel: notices.channel,
    everyMs: postgres.url === undefined ? LOOK_ALONE : LOOK_SHARED,
    leaseMs: Math.max(LEASE, 2 * notices.timeout),
  });
}

function senderFor(deps: NoticeDependencies): NoticeSender | undefined {
  const { config, clock, log, sms } = deps;
  const { channel, webhook_url: url, webhook_secret: key, timeout: timeoutMs } = config.notices;
  switch (channel) {
    case 'off':
      return undefined;
    case 'console':
      return new ConsoleNotices(log);
    case 'webhook':
      if (key === undefined) throw new RangeError('a webhook is signed, so it needs notices.webhook_secret');
      return new WebhookNotices({ url, key: () => key.reveal(), timeoutMs, now: () => clock.now() });
    case 'sms':
      if (!sms) throw new RangeError('notices by SMS need the SMS method');
      return new SmsNotices({
        ...deps,
        sender: sms.sender,
        numberOf: (factor) => sms.numbers.reachable(factor),
        appName: config.sms.app_name,
        maxPerDay: config.sms.max_per_day,
      });
  }
}
