import { noticeText } from '#src/domain/notice-text.ts';
import type { OutgoingNotice } from '#src/ports/notices.ts';

/** What an application gets: everything to write a message of its own, and one that is ready to be sent. */
export interface NoticePayload {
  /** The same for every attempt to deliver it. */
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  /** Of the event, such as `factor.enrolled`. */
  readonly type: string;
  readonly method?: string;
  /** RFC 3339. */
  readonly time: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly title: string;
  readonly body: string;
  /** '' when there is no public listener. */
  readonly not_me_url: string;
}

export function payloadOf(notice: OutgoingNotice): NoticePayload {
  const { id, realm, subject, type, method, at, facts, notMeUrl } = notice;
  return {
    id,
    realm,
    subject,
    type,
    ...(method === undefined ? {} : { method }),
    time: new Date(at).toISOString(),
    facts,
    ...noticeText(notice),
    not_me_url: notMeUrl,
  };
}
