import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, FactorState, FreezeReason } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { makeCertificates } from '../../scripts/servers/certificates.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { Balancer } from '../support/balancer.ts';
import { launchChromium, type WatchedPage } from '../support/chromium.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import type { GrpcClient } from '../support/grpc-client.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { CONSENT, signIn, TRANSFER } from '../support/people.ts';
import { PushBrowser } from '../support/push-browser.ts';
import { PushServiceStandIn } from '../support/push-service-stand-in.ts';
import { redeem } from '../support/redeem.ts';
import { until } from '../support/until.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

/**
 * Two sidecars over a real Redis and PostgreSQL behind one address, a push service that decrypts by an implementation of
 * its own, and a real browser. Every connection of the browser goes to the other sidecar.
 */
let folder: string;
let service: PushServiceStandIn;
let balancer: Balancer;
let notices: WebhookReceiver;
let browser: Browser;
let fleet: Fleet;
let a: GrpcClient;
let b: GrpcClient;
let origin: string;
let serverKey: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-push-browser-'));
  const certificates = makeCertificates(folder);
  service = await PushServiceStandIn.start(certificates.server);
  notices = await WebhookReceiver.listen();
  const ports = [await freePort(), await freePort()];
  const front = await freePort();
  origin = `http://localhost:${front}`;
  fleet = await startFleet({
    sidecars: 2,
    settings: {
      ...UNHURRIED,
      MFA_METHODS: '["push","totp","backup_code"]',
      SALLYPORT_LISTENERS_PUBLIC_URL: origin,
      SALLYPORT_LISTENERS_PUBLIC_APP_NAME: 'Harbour Bank',
      SALLYPORT_PUSH_SUBJECT: 'mailto:security@example.com',
      SALLYPORT_PUSH_HOSTS: '["localhost"]',
      SALLYPORT_PUSH_CA_FILE: certificates.caFile,
      SALLYPORT_PUSH_ALLOW_PRIVATE_HOSTS: 'true',
      SALLYPORT_NOTICES_CHANNEL: 'webhook',
      SALLYPORT_NOTICES_WEBHOOK_URL: notices.url,
      SALLYPORT_NOTICES_WEBHOOK_SECRET: 'a secret of thirty-two characters',
    },
    settingsOf: (index) => ({ SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${ports[index]}` }),
  });
  balancer = await Balancer.start(front, ports);
  [a, b] = [fleet.client(0), fleet.client(1)];
  const config = (await (await fetch(`${origin}/push/config.json`)).json()) as { applicationServerKey: string };
  serverKey = config.applicationServerKey;
  browser = await launchChromium();
});
afterAll(async () => {
  await browser?.close();
  await balancer?.[Symbol.asyncDispose]();
  await fleet?.[Symbol.asyncDispose]();
  await notices?.[Symbol.asyncDispose]();
  await service?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const heading = (page: Page, words: string) => page.getByRole('heading', { level: 1, name: words }).waitFor();

interface Holder extends AsyncDisposable {
  readonly subject: string;
  readonly token: string;
  readonly factorId: string;
  readonly person: PushBrowser;
  readonly backupCodes: readonly string[];
}

/** Somebody whose first factor is their browser, enrolled by its link. */
async function holder(subject: string): Promise<Holder> {
  const { token } = await signIn(a, subject);
  const { factor, material } = await a.unary(FactorService.method.beginEnrollment, {
    subject,
    method: Method.PUSH,
    displayName: 'Laptop',
    sessionToken: token,
    consent: CONSENT,
  });
  if (material.case !== 'pushEnrollmentUrl') throw new Error(`expected a link, got ${material.case}`);
  const person = await PushBrowser.open(browser, origin, service.subscribe(serverKey));
  const { page, troubles } = await person.page(material.value.slice(origin.length));
  await page.getByRole('button', { name: 'Allow and set up' }).click();
  await heading(page, 'This browser is set up');
  await page.getByText('“Laptop”').waitFor();
  const backupCodes = await page.locator('#code-list li').allTextContents();
  const asked = await page.evaluate<readonly { applicationServerKey: object }[]>(
    'subscribedWith.map(({ applicationServerKey }) => ({ applicationServerKey: Array.from(applicationServerKey) }))',
  );
  expect(asked).toEqual([{ applicationServerKey: [...Buffer.from(serverKey, 'base64url')] }]);
  expect(troubles).toEqual([]);
  await page.close();
  const close = () => person.context.close();
  return { subject, token, factorId: factor?.id ?? '', person, backupCodes, [Symbol.asyncDispose]: close };
}

/** The first screen: a challenge at one sidecar, push chosen, the number that it shows. */
async function firstScreen({ token }: Holder): Promise<{ readonly challengeId: string; readonly number: string }> {
  const { challenge } = await a.unary(ChallengeService.method.openChallenge, {
    sessionToken: token,
    action: TRANSFER,
    sensitivity: Sensitivity.CRITICAL,
  });
  const challengeId = challenge?.id ?? '';
  const { result } = await a.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: token,
    step: { case: 'choose', value: { method: Method.PUSH } },
  });
  if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
  return { challengeId, number: result.value.number };
}

/** What the push service decrypted goes to the service worker; its notification is touched; the page that it opens. */
async function notified({ person, factorId }: Holder, challengeId: string): Promise<WatchedPage> {
  const mine = () => service.deliveries.filter(({ endpoint }) => endpoint === person.keys.endpoint);
  // The first one loads the library; on a busy machine that takes its time.
  await expect.poll(() => mine().some(({ text }) => text.includes(challengeId)), { timeout: 20_000 }).toBe(true);
  await person.deliver(mine().at(-1)?.text ?? '');
  await until(async () => (await person.notifications()).length === 1);
  const [notification] = await person.notifications();
  expect(notification).toMatchObject({ title: 'Harbour Bank asks for your approval' });
  const path = await person.touch();
  expect(path).toBe(`/push/approve#${challengeId}/${factorId}`);
  return await person.page(path);
}

async function outcome(client: GrpcClient, { token }: Holder, challengeId: string) {
  return await client.unary(ChallengeService.method.getChallenge, { challengeId, sessionToken: token });
}

describe('a browser that approves', () => {
  it('is enrolled by its link, notified, shows what it is about, and the number of the first screen approves it', async () => {
    await using ada = await holder('ada');
    expect(ada.backupCodes).toHaveLength(10);
    const { challengeId, number } = await firstScreen(ada);
    const { page, troubles } = await notified(ada, challengeId);
    await heading(page, 'Is this you?');
    const shown = await page.locator('dl').innerText();
    for (const text of ['ada', 'transfer.create', 'accounts/42', '900 EUR', 'Eve']) expect(shown).toContain(text);
    expect((await outcome(b, ada, challengeId)).challenge?.state).toBe(ChallengeState.SEEN);
    await page.getByLabel('Number on your other screen').fill(number);
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'Approved');
    const { challenge, receipt } = await outcome(b, ada, challengeId);
    expect(challenge).toMatchObject({ state: ChallengeState.APPROVED, provenMethod: Method.PUSH });
    const by = { subject: ada.subject, sessionToken: ada.token };
    expect((await redeem(b, receipt?.token ?? '', by)).reason).toBe('redeemed');
    expect(troubles).toEqual([]);
    expect(balancer.counts.size).toBe(2);
    await page.reload();
    await heading(page, 'Nothing to approve');
  });

  it('ends it with a wrong number, whatever is typed afterwards', async () => {
    await using bea = await holder('bea');
    const { challengeId, number } = await firstScreen(bea);
    const { page } = await notified(bea, challengeId);
    await page.getByLabel('Number on your other screen').fill(number === '55' ? '56' : '55');
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'Denied');
    expect((await outcome(a, bea, challengeId)).challenge?.state).toBe(ChallengeState.DENIED);
    await page.reload();
    await heading(page, 'Nothing to approve');
  });

  it('freezes push when it was not the person, after a second word', async () => {
    await using cem = await holder('cem');
    const { challengeId } = await firstScreen(cem);
    const { page } = await notified(cem, challengeId);
    await page.getByRole('button', { name: 'This was not me', exact: true }).click();
    await page.getByRole('button', { name: 'Yes, this was not me' }).click();
    await heading(page, 'Denied and reported');
    expect((await outcome(b, cem, challengeId)).challenge?.state).toBe(ChallengeState.DENIED);
    const { factors } = await b.unary(FactorService.method.listFactors, { subject: 'cem' });
    expect(factors.find(({ id }) => id === cem.factorId)).toMatchObject({
      state: FactorState.FROZEN,
      freezeReason: FreezeReason.NOT_ME,
    });
  });

  it('is told that it is over when the first screen took it back', async () => {
    await using dov = await holder('dov');
    const { challengeId, number } = await firstScreen(dov);
    const { page } = await notified(dov, challengeId);
    await heading(page, 'Is this you?');
    await a.unary(ChallengeService.method.cancelChallenge, { challengeId, sessionToken: dov.token });
    await page.getByLabel('Number on your other screen').fill(number);
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'Too late');
    expect((await outcome(b, dov, challengeId)).challenge?.state).toBe(ChallengeState.CANCELLED);
  });

  it('cannot approve for somebody else: their notification leads nowhere in it', async () => {
    await using eda = await holder('eda');
    await using fay = await holder('fay');
    const { challengeId } = await firstScreen(eda);
    const { page } = await fay.person.page(`/push/approve#${challengeId}/${fay.factorId}`);
    await heading(page, 'Nothing to approve');
    expect((await outcome(b, eda, challengeId)).challenge?.state).not.toBe(ChallengeState.SEEN);
  });
});

describe('the link of a notice', () => {
  it('opens the page that says what happened, changes nothing by that, and locks on a press, at every sidecar', async () => {
    await using gil = await holder('gil');
    const told = () => notices.calls.map(({ body }) => body).find((body) => body.includes('"gil"'));
    await until(() => told() !== undefined);
    const link = /http[^"]*\/not-me#[\w-]+/.exec(told() ?? '')?.[0] ?? '';
    expect(link.startsWith(`${origin}/not-me#`)).toBe(true);
    const { page, troubles } = await gil.person.page(link.slice(origin.length));
    await page.getByText('A new way to confirm that it is you was added').waitFor();
    expect(page.url()).toBe(`${origin}/not-me`);
    const valid = async (client: GrpcClient) =>
      await client.unary(SessionService.method.validateSession, { token: gil.token }).then(
        () => true,
        () => false,
      );
    expect(await valid(b)).toBe(true);
    await page.getByRole('button', { name: 'Lock my account' }).click();
    await heading(page, 'Your account is locked');
    await until(async () => !(await valid(a)) && !(await valid(b)));
    const { factors } = await b.unary(FactorService.method.listFactors, { subject: 'gil' });
    expect(factors.find(({ id }) => id === gil.factorId)?.state).toBe(FactorState.FROZEN);
    await page.goto(link);
    await heading(page, 'Your account is locked');
    expect(troubles).toEqual([]);
  });
});
