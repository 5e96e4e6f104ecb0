import { post } from './api.ts';
import { oneAtATime, part, show, takeFragment } from './page.ts';
import { problemOf } from './problems.ts';

/** "This was not me": says what the notice was about, and locks on a press. To open the page changes nothing. */

type View =
  | { readonly found: false }
  | { readonly found: true; readonly type: string; readonly at: number; readonly done: boolean };

const WORDS: Readonly<Record<string, string>> = {
  'factor.enrolled': 'A new way to confirm that it is you was added',
  'factor.replaced': 'A way to confirm that it is you was replaced',
  'factor.removed': 'A way to confirm that it is you was removed',
  'factor.frozen': 'A way to confirm that it is you was stopped',
  'backup_codes.regenerated': 'New backup codes were made',
  'backup_code.used': 'A backup code was used',
  'consent.withdrawn': 'The consent to a method was withdrawn',
  'device.trusted': 'A device was remembered',
  'device.token_reused': 'A remembered device was used from two places',
  'session.ended': 'A session of yours was ended',
  'subject.locked': 'Your account was locked after wrong codes',
  'subject.hard_locked': 'Your account was locked after many wrong codes',
  'subject.reset': 'Your ways to confirm that it is you were reset',
  'subject.reported_not_me': 'Somebody reported: this was not me',
};

const LOST = 'Open the link in the message again: this page keeps it nowhere.';
const OVER = 'Its time is up, or it was not copied whole.';

let token = '';
let retry = load;

async function load(): Promise<void> {
  retry = load;
  token = takeFragment() || token;
  if (token === '') return over(LOST);
  try {
    const view = await post<View>('/not-me/api/view', { token });
    if (!view.found) return over(OVER);
    if (view.done) return show('locked');
    part('what', HTMLElement).textContent =
      WORDS[view.type] ?? 'Something about the security of your account was changed';
    const when = part('when', HTMLTimeElement);
    const date = new Date(view.at);
    when.dateTime = date.toISOString();
    when.textContent = date.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'short' });
    show('ask');
  } catch (error) {
    fail(error);
  }
}

async function lock(): Promise<void> {
  retry = lock;
  try {
    const { locked } = await post<{ readonly locked: boolean }>('/not-me/api/confirm', { token });
    if (locked) show('locked');
    else over(OVER);
  } catch (error) {
    fail(error);
  }
}

function over(text: string): void {
  part('over-text', HTMLElement).textContent = text;
  show('over');
}

function fail(error: unknown): void {
  const { title, text, again } = problemOf(error);
  part('problem-title', HTMLElement).textContent = title;
  part('problem-text', HTMLElement).textContent = text;
  part('again', HTMLButtonElement).hidden = !again;
  show('problem');
}

part('lock', HTMLButtonElement).addEventListener('click', oneAtATime(lock));
part('again', HTMLButtonElement).addEventListener(
  'click',
  oneAtATime(() => retry()),
);
addEventListener('hashchange', () => {
  if (location.hash !== '') load();
});
load();
