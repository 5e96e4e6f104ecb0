import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type Challenge,
  ChallengePurpose,
  ChallengeService,
  ChallengeState,
  DeliveryStatus,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import { ChallengeWatch } from '../support/challenge-watch.ts';
import { choose, enrolBrowser, enrolNumber, keyHolder } from '../support/factor-holder.ts';
import { FactorSite } from '../support/factor-site.ts';
import type { GrpcClient } from '../support/grpc-client.ts';
import type { PushReply } from '../support/push-service-stand-in.ts';
import { Sidecar } from '../support/sidecar.ts';
import { answer, backupCode } from '../support/step-up.ts';
import { trailOf } from '../support/trail-of.ts';
import type { TwilioTrouble } from '../support/twilio-stand-in.ts';
import { undisturbed } from '../support/undisturbed.ts';
import { answerWith, optionsOf } from '../support/webauthn-calls.ts';

/** A provider that is in trouble, as one row of the table in docs/deliveries.md. */
interface Fault {
  readonly what: string;
  readonly method: Method.SMS | Method.PUSH;
  /** What the next requests meet; after them all is well. */
  readonly next?: readonly (TwilioTrouble | PushReply)[];
  /** What every request meets. */
  readonly always?: TwilioTrouble | PushReply;
  /** What a signed report says once the message was taken. */
  readonly report?: number;
}

const sms = (what: string, trouble: Omit<Fault, 'what' | 'method'>): Fault => ({
  what,
  method: Method.SMS,
  ...trouble,
});
const push = (what: string, trouble: Omit<Fault, 'what' | 'method'>): Fault => ({
  what,
  method: Method.PUSH,
  ...trouble,
});
const refusal = (code: number) => ({ always: { kind: 'error', status: 400, code } }) as const;
const says = (status: number, after?: number): PushReply => ({
  status,
  ...(after === undefined ? {} : { headers: { 'retry-after': String(after) } }),
});

const FAULTS: readonly Fault[] = [
  sms('Twilio: 429 once', { next: [{ kind: 'error', status: 429 }] }),
  sms('Twilio: 429 for good', { always: { kind: 'error', status: 429 } }),
  sms('Twilio: 500', { always: { kind: 'error', status: 500 } }),
  sms('Twilio: no answer', { always: { kind: 'hang' } }),
  sms('Twilio: connection cut', { always: { kind: 'reset' } }),
  sms('Twilio: 21610, the person said STOP', refusal(21_610)),
  sms('Twilio: 21408, country not allowed', refusal(21_408)),
  sms('Twilio: 30003 in a report, not reachable', { report: 30_003 }),
  push('Push service: 404', { always: says(404) }),
  push('Push service: 410', { always: says(410) }),
  push('Push service: 413', { always: says(413) }),
  push('Push service: 429, again in 2 s', { next: [says(429, 2)] }),
  push('Push service: 429, again in an hour', { always: says(429, 3_600) }),
  push('Push service: 503 once', { next: [says(503)] }),
  push('Push service: 503 for good, each time again in 2 s', { always: says(503, 2) }),
  push('Push service: no answer once', { next: ['hang'] }),
  push('Push service: no answer for good', { always: 'hang' }),
];

const PUSH_TRIES = 5;
const NOT_COUNTED = /^challenge\.(?:opened|method_chosen|approved|refused)$/;
const GONE = /^factor\.(?:frozen|endpoint_gone)$/;
const METRICS = /^sallyport_(sms_total|sms_retries_total|push_total|deliveries_total)(?:\{(.*)\})? (\d+)$/gm;

let site: FactorSite;
let sidecar: Sidecar;
let client: GrpcClient;

beforeAll(async () => {
  site = await FactorSite.start();
  sidecar = await Sidecar.start({
    env: {
      ...site.settings,
      ...site.settingsOf(0),
      // Long enough for five tries of a push service that does not answer.
      MFA_TIMEOUT_SECONDS: '30',
      SALLYPORT_TWILIO_TIMEOUT: '2s',
      SALLYPORT_PUSH_TIMEOUT: '2s',
    },
  });
  client = sidecar.client();
});
afterEach(() => allWell());
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

function allWell(): void {
  site.twilio.always = undefined;
  site.push.next();
  site.push.always(undefined);
}

function bring({ method, next = [], always }: Fault): void {
  if (method === Method.SMS) {
    site.twilio.next(...(next as readonly TwilioTrouble[]));
    site.twilio.always = always as TwilioTrouble | undefined;
    return;
  }
  site.push.next(...(next as readonly PushReply[]));
  site.push.always(always as PushReply | undefined);
}

const requests = () => site.twilio.paths.length + site.push.requests;

/** The counters about deliveries, by name and labels. */
async function counters(): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${sidecar.adminUrl}/metrics`)).text();
  return new Map(
    [...text.matchAll(METRICS)].map(([, name, labels = '', value]) => [
      [name, ...[...labels.matchAll(/"([^"]*)"/g)].map(([, label]) => label).filter((label) => label !== '')].join(' '),
      Number(value),
    ]),
  );
}

/** A challenge of somebody with a number or a browser, besides their key and their backup codes. */
async function opened(fault: Fault, subject: string) {
  const who = await keyHolder(subject, client);
  const { factorId } = await (fault.method === Method.SMS ? enrolNumber : enrolBrowser)(site, who, client);
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    subject: who.subject,
    purpose: ChallengePurpose.LOGIN,
    action: { resource: 'login', action: 'sign_in' },
  });
  return { who, factorId, challengeId: challenge?.id ?? '' };
}

const wordOf = ({ delivery }: Challenge) =>
  [DeliveryStatus[delivery?.status ?? 0], delivery?.reason ?? ''].filter((word) => word !== '').join(' ');

/** A word that nothing comes after by itself; a push service that stays silent leaves it at UNKNOWN. */
const isLast = ({ delivery }: Challenge, { always, method, report }: Fault, tries: number) => {
  if (delivery?.status === DeliveryStatus.SENT) return report === undefined;
  if (delivery?.status === DeliveryStatus.UNKNOWN)
    return method === Method.SMS || (always === 'hang' && tries === PUSH_TRIES);
  return delivery?.status === DeliveryStatus.FAILED;
};

/** What becomes of one fault, as the table has it. */
async function row(fault: Fault, { who, factorId, challengeId }: Awaited<ReturnType<typeof opened>>): Promise<string> {
  using watch = new ChallengeWatch(client, challengeId);
  await watch.told('the open challenge', () => true);
  const before = { requests: requests(), counters: await counters() };
  bring(fault);
  let begun = performance.now();
  await choose(client, '', challengeId, fault.method);
  if (fault.report !== undefined) {
    await watch.told('taken', ({ delivery }) => delivery?.status === DeliveryStatus.SENT);
    begun = performance.now();
    const sid = site.twilio.messages.at(-1)?.sid ?? '';
    expect(await site.twilio.report(sid, 'undelivered', { errorCode: fault.report, reach: site.reach(0) })).toBe(204);
  }

  // Either it goes out, or others are offered, and soon.
  const soon = await watch.told(
    'a word',
    ({ delivery }) =>
      (delivery?.instead.length ?? 0) > 0 || (delivery?.status === DeliveryStatus.SENT && fault.report === undefined),
  );
  expect(soon.at - begun).toBeLessThan(2_000);
  const tries = () => requests() - before.requests;
  const last = await watch.told('the last word', (challenge) => isLast(challenge, fault, tries()), 28_000);
  const others = last.challenge.delivery?.instead ?? [];
  if (others.length > 0) expect(others).toContain(Method.WEBAUTHN);
  else expect(last.challenge.delivery?.status).toBe(DeliveryStatus.SENT);

  // Nothing more is sent of itself, no attempt was spent, and another method goes on.
  const sent = tries();
  await sleep(500);
  expect(tries()).toBe(sent);
  const wrong = await answer(client, challengeId, '', backupCode('ABCD-EFGH-JKMN-PQRS'));
  expect(wrong).toMatchObject({ end: 'refused', attemptsLeft: 4 });
  const nobody = { subject: who.subject, token: '' };
  const assertion = who.key.assert(await optionsOf(client, nobody, challengeId));
  const { result } = await answerWith(client, nobody, challengeId, assertion);
  expect(result).toMatchObject({ case: 'finished', value: { challenge: { state: ChallengeState.APPROVED } } });

  const after = await counters();
  const counted = [...after].filter(([name, value]) => value > (before.counters.get(name) ?? 0)).map(([name]) => name);
  const written = (await trailOf(sidecar, { subject: who.subject }))
    .filter((event) => event.challengeId === challengeId || (event.factorId === factorId && GONE.test(event.type)))
    .filter(({ type }) => !NOT_COUNTED.test(type))
    .map(({ type, reason }) => `${type} ${reason}`.trim());
  const again = last.challenge.delivery?.resendable && others.length > 0 ? ', may be sent again' : '';
  const texts = [
    fault.what,
    `${code(wordOf(soon.challenge))}${(soon.challenge.delivery?.instead.length ?? 0) > 0 ? ', others offered' : ''}`,
    `${code(wordOf(last.challenge))}${again}`,
    sent === 1 ? 'no' : sent === 2 ? 'once' : 'more than once',
    list(counted),
    list(written),
  ];
  return `| ${texts.join(' | ')} |`;
}

const code = (text: string) => `\`${text}\``;
const list = (names: readonly string[]) => [...new Set(names)].toSorted().map(code).join(', ');

const page = readFileSync(new URL('../../docs/deliveries.md', import.meta.url), 'utf8');
const table = page.split('\n').filter((line) => line.startsWith('| Twilio: ') || line.startsWith('| Push service: '));

describe('a provider in trouble', () => {
  it('has a row for each of its troubles in docs/deliveries.md, and no other', () => {
    expect(table.map((line) => line.split(' | ')[0]?.slice(2))).toEqual(FAULTS.map(({ what }) => what));
  });

  it.each(FAULTS.map((fault, index) => [fault.what, fault, index] as const))(
    'is told, retried and counted as docs/deliveries.md says, costs no attempt, and another method goes on: %s',
    async (what, fault, index) => {
      await undisturbed(async (go) => {
        allWell();
        const about = await opened(fault, `fault-${index}-${go}`);
        try {
          expect(await row(fault, about)).toBe(table.find((line) => line.startsWith(`| ${what} | `)));
        } catch (error) {
          // What is still under way for it must not be counted in the next one.
          await client
            .unary(ChallengeService.method.cancelChallenge, { challengeId: about.challengeId })
            .catch(() => {});
          throw error;
        }
      });
    },
  );
});
