import { ApiError, get, post } from './api.ts';
import { type MadeKey, makeDeviceKey, signWith } from './device-key.ts';
import { allDevices, dropDevice, putDevice } from './device-store.ts';
import { obstacle, permissionDenied, subscribe, subscribeFailed } from './notifications.ts';
import { announce, oneAtATime, part, show, takeFragment, visible } from './page.ts';
import { type Problem, problemOf } from './problems.ts';
import { base64url, enrollmentBytes, fromBase64url, type SubscriptionFields } from './push-bytes.ts';

/** Makes this browser a push device: notifications, a key of its own, and the two brought to the person by a ticket. */

interface PushConfig {
  readonly appName: string;
  readonly applicationServerKey: string;
}

interface ToConfirm {
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  readonly challenge: string;
}

interface Confirmed {
  readonly displayName: string;
  readonly backupCodes: readonly string[];
}

const PERHAPS_DONE: Problem = {
  title: 'Look among your devices',
  text: 'It is set up, or the time of your link is up: no answer came in between. If this browser is not among your devices, ask for a new link.',
  again: false,
};

/** From the link; kept here only, so that neither address bar nor history has it. */
let ticket = '';
/** Made once and used again when something has to be repeated. */
let made: { readonly key: MadeKey; readonly subscription: SubscriptionFields; readonly json: string } | undefined;
let config: PushConfig | undefined;
/** Whether the signature was sent, and no word came back. */
let unanswered = false;

async function start(): Promise<void> {
  ticket = takeFragment() || ticket;
  const hindrance = obstacle();
  if (hindrance) return fail(hindrance);
  if (ticket === '') return show('link');
  try {
    config = await get<PushConfig>('/push/config.json');
    part('app', HTMLElement).textContent = config.appName;
    const [known] = await allDevices();
    const note = part('replaces', HTMLElement);
    note.hidden = known === undefined;
    note.textContent = known
      ? `This browser already approves for ${visible(known.subject)}. Setting it up again takes the place of that.`
      : '';
  } catch (error) {
    return fail(problemOf(error));
  }
  show('intro');
}

async function setUp(): Promise<void> {
  if (!config) return start();
  show('working');
  // First, and right after the press: browsers ask the person only then.
  if ((await Notification.requestPermission()) !== 'granted') return fail(permissionDenied());
  try {
    made ??= { key: await makeDeviceKey(), ...(await subscribe(config.applicationServerKey)) };
  } catch {
    return fail(subscribeFailed());
  }
  try {
    await enroll(config, made);
  } catch (error) {
    const done = unanswered && error instanceof ApiError && error.problem === 'expired';
    fail(done ? PERHAPS_DONE : problemOf(error));
  }
}

async function enroll({ appName }: PushConfig, device: NonNullable<typeof made>): Promise<void> {
  const { key, subscription, json } = device;
  const what = { ticket, subscription: json, publicKey: base64url(key.publicKey) };
  const { factorId, realm, subject, challenge } = await post<ToConfirm>('/push/api/enroll', what);
  const bytes = await enrollmentBytes({ factorId, realm, subject, publicKey: key.publicKey, subscription });
  // Signed is only what this browser would have asked for itself.
  if (base64url(bytes) !== base64url(fromBase64url(challenge))) throw new ApiError('failed');
  const earlier = await allDevices();
  // Kept before it is confirmed: if the answer gets lost, the device works all the same.
  await putDevice({ factorId, realm, subject, appName, displayName: '', privateKey: key.privateKey });
  let confirmed: Confirmed;
  try {
    const signature = base64url(await signWith(key.privateKey, bytes));
    confirmed = await post<Confirmed>('/push/api/confirm', { ...what, signature });
  } catch (error) {
    unanswered = error instanceof ApiError && (error.problem === 'offline' || error.problem === 'unavailable');
    if (!unanswered) await dropDevice(factorId);
    throw error;
  }
  ticket = '';
  const { displayName, backupCodes } = confirmed;
  await putDevice({ factorId, realm, subject, appName, displayName, privateKey: key.privateKey });
  // Their subscription is no more.
  for (const other of earlier) if (other.factorId !== factorId) await dropDevice(other.factorId);
  part('done-text', HTMLElement).textContent =
    `From now on, ${appName} asks you here. You will find it as “${visible(displayName)}” among your devices.`;
  listCodes(backupCodes);
  show('done');
}

function listCodes(codes: readonly string[]): void {
  part('codes', HTMLElement).hidden = codes.length === 0;
  const items = codes.map((code) => {
    const item = document.createElement('li');
    item.textContent = code;
    return item;
  });
  part('code-list', HTMLElement).replaceChildren(...items);
}

async function copyCodes(): Promise<void> {
  const items = part('code-list', HTMLElement).querySelectorAll('li');
  try {
    await navigator.clipboard.writeText(Array.from(items, (item) => item.textContent).join('\n'));
    part('copy', HTMLButtonElement).textContent = 'Copied';
    announce('Copied');
  } catch {
    announce('Your browser does not let this page copy. Select the codes, and copy them yourself.');
  }
}

function fail({ title, text, steps = [], again }: Problem): void {
  part('problem-title', HTMLElement).textContent = title;
  part('problem-text', HTMLElement).textContent = text;
  const list = part('problem-steps', HTMLElement);
  list.hidden = steps.length === 0;
  list.replaceChildren(
    ...steps.map((step) => {
      const item = document.createElement('li');
      item.textContent = step;
      return item;
    }),
  );
  part('again', HTMLButtonElement).hidden = !again;
  show('problem');
}

/** The ticket in a link that was pasted: any address of this page with something behind `#`; '' for all else. */
function ticketOf(link: string): string {
  const [address = '', fragment = ''] = link.trim().split('#', 2);
  return address === `${location.origin}${location.pathname}` ? fragment : '';
}

function takeLink(event: SubmitEvent): void {
  event.preventDefault();
  const field = part('link', HTMLInputElement);
  ticket = ticketOf(field.value);
  part('link-problem', HTMLElement).hidden = ticket !== '';
  if (ticket === '') {
    field.setAttribute('aria-invalid', 'true');
    field.focus();
    return;
  }
  field.value = '';
  start();
}

part('link-form', HTMLFormElement).addEventListener('submit', takeLink);
part('begin', HTMLButtonElement).addEventListener('click', oneAtATime(setUp));
part('again', HTMLButtonElement).addEventListener('click', oneAtATime(setUp));
part('copy', HTMLButtonElement).addEventListener('click', oneAtATime(copyCodes));
// The same link opened again in the same tab.
addEventListener('hashchange', () => {
  if (location.hash !== '') start();
});
start();
