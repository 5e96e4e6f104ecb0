import type { Method } from './method.ts';
import type { Notice } from './notice.ts';

/** What a person reads. English; applications that write their own take the type, the method and the facts. */
export interface NoticeText {
  /** One line. */
  readonly title: string;
  /** What it means and what to do; without links. */
  readonly body: string;
}

const METHOD_NAMES: Readonly<Record<Method, string>> = {
  totp: 'an authenticator app',
  sms: 'codes by SMS',
  push: 'approval on a device',
  webauthn: 'a passkey or security key',
  backup_code: 'backup codes',
};

/** The text for a notice. Facts are shown only where they are numbers, so that nothing foreign gets into it. */
export function noticeText(notice: Pick<Notice, 'type' | 'method' | 'facts'>): NoticeText {
  const what = notice.method === undefined ? 'a sign-in method' : METHOD_NAMES[notice.method];
  switch (notice.type) {
    case 'factor.enrolled':
      return { title: 'A sign-in method was added', body: `From now on ${what} can confirm that it is you.` };
    case 'factor.replaced':
      return {
        title: 'A sign-in method was replaced',
        body: `The one that was used before, ${what}, no longer counts. Remembered devices were forgotten.`,
      };
    case 'factor.removed':
      return {
        title: 'A sign-in method was removed',
        body: `It was ${what}. Remembered devices were forgotten.`,
      };
    case 'factor.frozen':
      return {
        title: 'A sign-in method was suspended',
        body: `It is ${what}; until it is released it confirms nothing.`,
      };
    case 'backup_codes.regenerated':
      return { title: 'New backup codes were made', body: 'All older backup codes are void.' };
    case 'backup_code.used':
      return { title: 'A backup code was used', body: codesLeft(notice.facts['codes_left']) };
    case 'consent.withdrawn':
      return { title: 'A consent was withdrawn', body: `It was the one to ${what}, which confirms nothing any more.` };
    case 'device.trusted':
      return {
        title: 'A device is remembered',
        body: 'Signing in from this browser takes no second step until it is forgotten.',
      };
    case 'device.token_reused':
      return {
        title: 'A remembered device was copied',
        body: 'Somebody presented a copy of what a remembered browser keeps. The browser was forgotten.',
      };
    case 'session.ended':
      return {
        title: 'You were signed out on one device',
        body: 'Either you signed in on too many devices, or the connection looked like somebody else.',
      };
    case 'subject.locked':
      return { title: 'Too many wrong codes', body: 'Your account takes no codes for a while.' };
    case 'subject.hard_locked':
      return { title: 'Your account is locked', body: 'There were far too many wrong codes. Support can unlock it.' };
    case 'subject.reset':
      return {
        title: 'Your sign-in methods were reset',
        body: 'Support removed all of them, forgot remembered devices and signed you out everywhere.',
      };
    case 'subject.reported_not_me':
      return {
        title: 'Your account is locked, as you asked',
        body: 'You said that something was not you. Support can unlock it.',
      };
    default:
      return { title: 'Something about your account was changed', body: 'Look at your sign-in methods.' };
  }
}

function codesLeft(count: string | undefined): string {
  if (count === undefined || !/^\d{1,3}$/.test(count)) return 'It cannot be used again.';
  const left = Number(count);
  if (left === 0) return 'It was the last one. Make new ones.';
  return left === 1 ? 'One is left. Make new ones soon.' : `${left} are left.`;
}
