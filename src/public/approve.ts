import { ApiError, post } from './api.ts';
import { signWith } from './device-key.ts';
import { deviceOf, type StoredDevice } from './device-store.ts';
import { announce, oneAtATime, part, show, visible } from './page.ts';
import { problemOf } from './problems.ts';
import { actionDigest, answerBytes, base64url, type PushAnswer, viewBytes } from './push-bytes.ts';

/** Shows what is to be approved, and signs the answer. What is signed is put together from what is shown. */

type View =
  | { readonly found: false }
  | {
      readonly found: true;
      readonly subject: string;
      readonly resource: string;
      readonly action: string;
      readonly details: readonly (readonly [key: string, value: string])[];
      readonly actionDigest: string;
      readonly digits: number;
      readonly expiresAt: number;
      readonly now: number;
    };

type Outcome = 'approved' | 'denied' | 'refused';

interface Asked {
  readonly challengeId: string;
  readonly device: StoredDevice;
  readonly subject: string;
  readonly actionDigest: string;
  readonly digits: number;
  /** By the clock of `performance.now`. */
  readonly endsAt: number;
  readonly life: number;
  readonly isCurrent: IsCurrent;
}

/** Whether nothing was opened since. Word that comes later than that has nothing to show any more. */
type IsCurrent = () => boolean;

const TICK_MS = 250;
const LAST_CALL_MS = 10_000;
const OVER =
  'It was answered, its time is up, or it was taken back. If you still want it, begin again at your other screen.';

let asked: Asked | undefined;
let ticking: ReturnType<typeof setInterval> | undefined;
let retry = load;
/** How often something was opened here: another notification may be touched before the sidecar has answered. */
let opened = 0;

async function load(): Promise<void> {
  opened += 1;
  const mine = opened;
  const isCurrent = () => mine === opened;
  retry = load;
  stopClock();
  closeDialog();
  asked = undefined;
  part('number', HTMLInputElement).value = '';
  complain('');
  const [challengeId = '', factorId = ''] = location.hash.slice(1).split('/');
  if (challengeId === '')
    return over('Nothing to approve', 'When something needs your approval, a notification brings you here.');
  try {
    const device = await deviceOf(factorId);
    if (!isCurrent()) return;
    if (!device) return over('Not set up', 'This browser has no key for that. Approve on the device that you set up.');
    part('app', HTMLElement).textContent = device.appName;
    const view = await ask(challengeId, device);
    if (view.found) await present(challengeId, device, view, isCurrent);
    else if (isCurrent()) over('Nothing to approve', OVER);
  } catch (error) {
    if (isCurrent()) fail(error);
  }
}

async function ask(challengeId: string, device: StoredDevice): Promise<View> {
  const { factorId, realm, privateKey } = device;
  const at = Date.now();
  const signature = base64url(await signWith(privateKey, viewBytes({ challengeId, factorId, realm, at })));
  return await post<View>('/push/api/view', { challengeId, factorId, realm, at, signature });
}

async function present(
  challengeId: string,
  device: StoredDevice,
  view: Extract<View, { readonly found: true }>,
  isCurrent: IsCurrent,
): Promise<void> {
  const digest = await actionDigest(device.realm, view.subject, view);
  if (!isCurrent()) return;
  // Somebody in between would have one thing shown and another approved.
  if (digest !== view.actionDigest || view.subject !== device.subject) throw new ApiError('failed');
  const life = Math.max(0, view.expiresAt - view.now);
  const { subject, digits } = view;
  const endsAt = performance.now() + life;
  asked = { challengeId, device, subject, actionDigest: digest, digits, life, endsAt, isCurrent };
  const facts: readonly (readonly [string, string])[] = [
    ['Account', subject],
    ['Action', view.action],
    ['On', view.resource],
    ...view.details,
  ];
  part('facts', HTMLElement).replaceChildren(...facts.filter(([, value]) => value !== '').map(fact));
  const field = part('number', HTMLInputElement);
  field.maxLength = digits;
  show('ask');
  startClock();
}

function fact([name, value]: readonly [string, string]): HTMLElement {
  const row = document.createElement('div');
  const term = document.createElement('dt');
  const meaning = document.createElement('dd');
  term.textContent = visible(name);
  meaning.textContent = visible(value);
  row.append(term, meaning);
  return row;
}

async function answer(said: PushAnswer): Promise<void> {
  if (!asked) return;
  const { challengeId, device, subject, actionDigest: digest, digits, isCurrent } = asked;
  const { factorId, realm, privateKey } = device;
  const number = said === 'approve' ? part('number', HTMLInputElement).value : '';
  if (said === 'approve' && !(number.length === digits && /^\d+$/.test(number)))
    return complain(`Type the ${digits} digits that you see on your other screen.`);
  complain('');
  const bytes = answerBytes({ challengeId, factorId, realm, subject, actionDigest: digest, number, answer: said });
  const signature = base64url(await signWith(privateKey, bytes));
  const verdict = { approve: said === 'approve', notMe: said === 'not_me' };
  await send(said, { challengeId, factorId, realm, number, ...verdict, signature }, isCurrent);
}

/** Sent again are the same bytes: if only the answer got lost, that gets the first answer. */
async function send(said: PushAnswer, signed: object, isCurrent: IsCurrent): Promise<void> {
  if (isCurrent()) retry = () => send(said, signed, isCurrent);
  try {
    const { outcome } = await post<{ readonly outcome: Outcome }>('/push/api/answer', signed);
    if (isCurrent()) ended(said, outcome);
  } catch (error) {
    if (isCurrent()) fail(error);
  }
}

function ended(said: PushAnswer, outcome: Outcome): void {
  stopClock();
  asked = undefined;
  if (outcome === 'refused') over('Too late', OVER);
  else if (outcome === 'approved') show('approved');
  else denied(said);
}

function denied(said: PushAnswer): void {
  part('denied-text', HTMLElement).textContent =
    said === 'approve'
      ? 'The number was not the one on the other screen, so nothing was approved. If it was you, begin again there. If not, change your password.'
      : 'Nothing was approved. You can close this page.';
  show(said === 'not_me' ? 'reported' : 'denied');
}

function startClock(): void {
  let called = false;
  const tick = () => {
    if (!asked) return;
    const left = Math.max(0, asked.endsAt - performance.now());
    part('left', HTMLElement).textContent = `${Math.ceil(left / 1_000)} s left`;
    part('bar', HTMLElement).style.transform = `scaleX(${asked.life === 0 ? 0 : left / asked.life})`;
    if (left <= LAST_CALL_MS && !called) {
      called = true;
      announce(`${Math.ceil(left / 1_000)} seconds left`);
    }
    if (left > 0) return;
    asked = undefined;
    stopClock();
    closeDialog();
    over('Its time is up', 'Nothing was approved. If you still want it, begin again at your other screen.');
  };
  tick();
  ticking = setInterval(tick, TICK_MS);
}

function stopClock(): void {
  clearInterval(ticking);
}

function complain(words: string): void {
  const problem = part('number-problem', HTMLElement);
  const field = part('number', HTMLInputElement);
  problem.hidden = words === '';
  problem.textContent = words;
  field.setAttribute('aria-invalid', String(!problem.hidden));
  if (!problem.hidden) field.focus();
}

function over(title: string, text: string): void {
  part('over-title', HTMLElement).textContent = title;
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

function closeDialog(): void {
  part('sure', HTMLDialogElement).close();
}

const deny = oneAtATime(() => answer('deny'));
const approve = oneAtATime(() => answer('approve'));
const report = oneAtATime(() => answer('not_me'));
part('answer', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  approve();
});
part('deny', HTMLButtonElement).addEventListener('click', deny);
part('not-me', HTMLButtonElement).addEventListener('click', () => part('sure', HTMLDialogElement).showModal());
part('sure-no', HTMLButtonElement).addEventListener('click', closeDialog);
part('sure-yes', HTMLButtonElement).addEventListener('click', () => {
  closeDialog();
  report();
});
part('again', HTMLButtonElement).addEventListener(
  'click',
  oneAtATime(() => retry()),
);
addEventListener('hashchange', load);
// The service worker, when a notification is touched while this page is open.
navigator.serviceWorker?.addEventListener('message', ({ data }) => {
  const { approval } = data as { readonly approval?: string };
  if (approval === undefined) return;
  if (location.hash === `#${approval}`) load();
  else location.hash = approval;
});
load();
