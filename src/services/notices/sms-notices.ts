import type { Factor } from '#src/domain/factor.ts';
import { noticeText } from '#src/domain/notice-text.ts';
import { DAY, type DurationMs, HOUR } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { NoticeSender, OutgoingNotice } from '#src/ports/notices.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { SmsSender } from '#src/ports/senders.ts';

type NumberRow = Pick<Factor, 'id' | 'realm' | 'subject' | 'sealedSecret'>;

export interface SmsNoticesDependencies {
  readonly factors: Pick<FactorStore, 'list'>;
  /** The number of an SMS factor, in E.164; '' where no message may go to. */
  readonly numberOf: (factor: NumberRow) => Promise<string>;
  readonly sender: SmsSender;
  readonly ledger: Pick<SendLedger, 'reserve'>;
  readonly digest: KeyedDigest;
  readonly clock: Clock;
  /** Name in the messages. */
  readonly appName: string;
  /** The spend stop, which notices share with codes. */
  readonly maxPerDay: number;
}

/** So many notices a day tell a person what there is to tell; whoever makes more of them wants to cost money. */
const MAX_PER_PERSON = 10;
const VALIDITY: DurationMs = 4 * HOUR;

/**
 * Tells people by SMS to a number that they have enrolled; whoever has none is not reached. Of a change that took a number
 * away it tells that number and no other: the one in its place may be somebody else's.
 */
export class SmsNotices implements NoticeSender {
  readonly #deps: SmsNoticesDependencies;

  constructor(deps: SmsNoticesDependencies) {
    this.#deps = deps;
  }

  async send(notice: OutgoingNotice): Promise<'sent' | 'unreachable'> {
    const { appName, numberOf, sender } = this.#deps;
    const factor = await this.#rowFor(notice);
    const to = factor ? await numberOf(factor) : '';
    if (to === '') return 'unreachable';
    await this.#reserve(notice);
    const link = notice.notMeUrl === '' ? '' : ` Not you? ${notice.notMeUrl}`;
    const result = await sender.send({
      to,
      body: `${appName}: ${noticeText(notice).title}.${link}`,
      validityMs: VALIDITY,
      callbackUrl: '',
    });
    switch (result.outcome) {
      case 'accepted':
      // It may have been sent: a second message would say the same.
      case 'unknown':
        return 'sent';
      case 'rejected':
        if (!result.config) return 'unreachable';
        throw new Error(`the SMS was not sent: ${result.reason}`);
      case 'retry':
        throw new Error(`the SMS was not sent: ${result.reason}`);
    }
  }

  async #rowFor({ realm, subject, formerNumber }: OutgoingNotice): Promise<NumberRow | undefined> {
    if (formerNumber) return { id: formerNumber.factorId, realm, subject, sealedSecret: formerNumber.sealedSecret };
    const { clock, factors } = this.#deps;
    const held = await factors.list(realm, subject, clock.now());
    // Whoever took back the consent to messages gets none; a factor that is frozen for another reason still has an owner.
    return held.find(
      ({ method, state, freezeReason }) =>
        method === 'sms' && state === 'ACTIVE' && freezeReason !== 'CONSENT_WITHDRAWN',
    );
  }

  async #reserve({ realm, subject }: OutgoingNotice): Promise<void> {
    const { clock, digest, ledger, maxPerDay } = this.#deps;
    const person = Buffer.from(digest.digest('sms.notice', `${realm}\n${subject}`)).toString('base64url');
    const reserved = await ledger.reserve({
      realm,
      limits: [
        { scope: `sms:notice:${person}`, name: 'notices_per_person', max: MAX_PER_PERSON, windowMs: DAY },
        { scope: 'sms:spend', name: 'sms_spend', max: maxPerDay, windowMs: DAY, everywhere: true },
      ],
      ratios: [],
      now: clock.now(),
      events: [],
    });
    if (reserved.outcome === 'limited') throw new Error(`too many messages: ${reserved.name}`);
  }
}
