import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ChallengeService, ChallengeState, DeliveryStatus } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, FactorState, FreezeReason } from '#src/gen/sallyport/v1/factor_pb.js';
import { makeCertificates } from '../../scripts/servers/certificates.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { CONSENT, enrolledPerson, type Person, TRANSFER } from '../support/people.ts';
import { PushServiceStandIn, type StandInSubscription } from '../support/push-service-stand-in.ts';
import { SoftwarePushDevice } from '../support/software-push-device.ts';
import { changeReceipt } from '../support/step-up.ts';
import { undisturbed } from '../support/undisturbed.ts';

/** Two sidecars over a real Redis and PostgreSQL, a push service of its own authority, and devices of software. */
let folder: string;
let service: PushServiceStandIn;
let fleet: Fleet;
let a: GrpcClient;
let b: GrpcClient;
const publicPorts: number[] = [];
let origin: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-push-e2e-'));
  const certificates = makeCertificates(folder);
  service = await PushServiceStandIn.start(certificates.server);
  publicPorts.push(await freePort(), await freePort());
  origin = `http://localhost:${publicPorts[0]}`;
  fleet = await startFleet({
    sidecars: 2,
    settings: {
      ...UNHURRIED,
      MFA_METHODS: '["push","totp","backup_code"]',
      SALLYPORT_LISTENERS_PUBLIC_URL: origin,
      SALLYPORT_PUSH_SUBJECT: 'mailto:security@example.com',
      SALLYPORT_PUSH_HOSTS: '["localhost"]',
      SALLYPORT_PUSH_CA_FILE: certificates.caFile,
      SALLYPORT_PUSH_ALLOW_PRIVATE_HOSTS: 'true',
      SALLYPORT_PUSH_TIMEOUT: '3s',
    },
    settingsOf: (index) => ({ SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${publicPorts[index]}` }),
  });
  [a, b] = [fleet.client(0), fleet.client(1)];
});
afterEach(() => {
  service.next();
  service.always(undefined);
});
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Holder {
  readonly person: Person;
  readonly device: SoftwarePushDevice;
  readonly subscription: StandInSubscription;
  readonly factorId: string;
}

/** What the page posts to the public listener of a sidecar. */
async function post(index: number, path: string, body: Readonly<Record<string, unknown>>) {
  const bytes = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value);
  const response = await fetch(`http://127.0.0.1:${publicPorts[index]}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin },
    body: JSON.stringify(Object.fromEntries(Object.entries(body).map(([name, value]) => [name, bytes(value)]))),
  });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

async function begin(
  person: Person,
  extra: { readonly pushSubscriptionJson?: string; readonly devicePublicKey?: Uint8Array },
) {
  const { factor, material } = await a.unary(FactorService.method.beginEnrollment, {
    subject: person.subject,
    method: Method.PUSH,
    displayName: 'Laptop',
    receipt: await changeReceipt(a, person, 'factor.enroll', 'factors/push'),
    consent: CONSENT,
    ...extra,
  });
  return { factorId: factor?.id ?? '', material };
}

/** By the application's own page: begun on one sidecar, confirmed on the other. */
async function holder(subject: string): Promise<Holder> {
  const person = await enrolledPerson(a, subject);
  const config = (await (await fetch(`http://127.0.0.1:${publicPorts[1]}/push/config.json`)).json()) as {
    applicationServerKey: string;
  };
  const subscription = service.subscribe(config.applicationServerKey);
  const device = new SoftwarePushDevice(subscription);
  const { factorId, material } = await begin(person, {
    pushSubscriptionJson: subscription.json,
    devicePublicKey: device.publicKey,
  });
  if (material.case !== 'pushChallenge') throw new Error(`expected bytes, got ${material.case}`);
  await b.unary(FactorService.method.confirmEnrollment, {
    subject,
    factorId,
    proof: { case: 'pushSignature', value: device.sign(material.value) },
  });
  return { person, device, subscription, factorId };
}

async function open(client: GrpcClient, { person }: Pick<Holder, 'person'>): Promise<string> {
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken: person.token,
    action: TRANSFER,
    sensitivity: Sensitivity.CRITICAL,
  });
  return challenge?.id ?? '';
}

async function choose(client: GrpcClient, { person }: Pick<Holder, 'person'>, challengeId: string): Promise<string> {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken: person.token,
    step: { case: 'choose', value: { method: Method.PUSH } },
  });
  if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
  return result.value.number;
}

async function read(client: GrpcClient, { person }: Pick<Holder, 'person'>, challengeId: string) {
  const { challenge, receipt } = await client.unary(ChallengeService.method.getChallenge, {
    challengeId,
    sessionToken: person.token,
  });
  return { challenge, receipt };
}

/** What came to the browser, found by its own keys. */
async function notified({
  subscription,
}: Holder): Promise<{ readonly challenge: string; readonly factor: string; readonly realm: string }> {
  const mine = () => service.deliveries.filter(({ endpoint }) => endpoint === subscription.endpoint);
  // The first one loads the library.
  await expect.poll(() => mine().length, { timeout: 20_000 }).toBeGreaterThan(0);
  return JSON.parse(mine().at(-1)?.text ?? '') as never;
}

/** Looks at what it was told of and answers, on a sidecar of the test's choice. */
async function answerOn(
  index: number,
  who: Holder,
  said: 'approve' | 'deny' | 'not_me',
  number = '',
): Promise<unknown> {
  const { challenge, factor, realm } = await notified(who);
  const at = { realm, challengeId: challenge, factorId: factor };
  const view = await post(index, '/push/api/view', { ...who.device.look(at, Date.now()) });
  expect(view.json).toMatchObject({ found: true, resource: TRANSFER.resource, subject: who.person.subject });
  const shown = view.json as never as { subject: string; actionDigest: string };
  const answered = await post(index, '/push/api/answer', { ...who.device.reply(at, shown, said, number) });
  return answered.json['outcome'];
}

describe('a push', () => {
  it('is chosen on one sidecar, answered on the other, and its receipt redeems; the service saw nothing worth having', async () => {
    const ada = await holder('ada');
    const challengeId = await open(a, ada);
    const number = await choose(a, ada, challengeId);
    expect(number).toMatch(/^[1-9][0-9]$/);
    const told = await notified(ada);
    expect(told).toEqual({ v: 1, kind: 'approval', challenge: challengeId, factor: ada.factorId, realm: 'default' });
    const [delivery] = service.deliveries.filter(({ endpoint }) => endpoint === ada.subscription.endpoint);
    expect(delivery).toMatchObject({ urgency: 'high' });
    expect(delivery?.ttlSeconds).toBeLessThanOrEqual(60);
    await expect
      .poll(async () => (await read(b, ada, challengeId)).challenge?.delivery?.status)
      .toBe(DeliveryStatus.SENT);
    expect(await answerOn(1, ada, 'approve', number)).toBe('approved');
    const { challenge, receipt } = await read(a, ada, challengeId);
    expect(challenge).toMatchObject({ state: ChallengeState.APPROVED, provenMethod: Method.PUSH });
    expect(decodeJwt(receipt?.token ?? '')).toMatchObject({ sub: 'ada', acr: 'aal2' });
    expect(service.refusals).toEqual([]);
  });

  it('with a wrong number is denied for good; a later one goes through', async () => {
    const bea = await holder('bea');
    const challengeId = await open(a, bea);
    const number = await choose(a, bea, challengeId);
    expect(await answerOn(1, bea, 'approve', number === '55' ? '56' : '55')).toBe('denied');
    expect((await read(b, bea, challengeId)).challenge?.state).toBe(ChallengeState.DENIED);
    service.deliveries.length = 0;
    const again = await open(b, bea);
    const shown = await choose(b, bea, again);
    expect(await answerOn(0, bea, 'approve', shown)).toBe('approved');
  });

  it('takes the place of an older one, which cannot be approved any more', async () => {
    const cem = await holder('cem');
    const older = await open(a, cem);
    const number = await choose(a, cem, older);
    const { challenge, factor, realm } = await notified(cem);
    const newer = await open(b, cem);
    await choose(b, cem, newer);
    expect((await read(a, cem, older)).challenge?.state).toBe(ChallengeState.SUPERSEDED);
    const at = { realm, challengeId: challenge, factorId: factor };
    const shown = { subject: 'cem', actionDigest: (await read(a, cem, older)).challenge?.action?.digest ?? '' };
    const late = await post(0, '/push/api/answer', { ...cem.device.reply(at, shown, 'approve', number) });
    expect(late.json['outcome']).toBe('refused');
    await expect.poll(async () => (await read(a, cem, newer)).challenge?.state).toBe(ChallengeState.DELIVERED);
  });

  it('that was not the person freezes push on all sidecars', async () => {
    const dov = await holder('dov');
    await choose(a, dov, await open(a, dov));
    expect(await answerOn(1, dov, 'not_me')).toBe('denied');
    const { factors } = await a.unary(FactorService.method.listFactors, { subject: 'dov' });
    expect(factors.find(({ id }) => id === dov.factorId)).toMatchObject({
      state: FactorState.FROZEN,
      freezeReason: FreezeReason.NOT_ME,
    });
    const next = await open(b, dov);
    expect(errorInfo(await choose(b, dov, next).catch((error: unknown) => error)).reason).toBe('METHOD_NOT_OFFERED');
  });

  it('to a browser that is gone is said to fail at once, with what else will do; the factor stays, frozen', async () => {
    await undisturbed(async (go) => {
      const eda = await holder(`eda-${go}`);
      service.unsubscribe(eda.subscription.endpoint);
      const challengeId = await open(a, eda);
      const begun = performance.now();
      await choose(a, eda, challengeId);
      await expect
        .poll(async () => (await read(b, eda, challengeId)).challenge?.delivery, { timeout: 2_000, interval: 25 })
        .toMatchObject({
          status: DeliveryStatus.FAILED,
          reason: 'UNREACHABLE',
          instead: [Method.TOTP],
          resendable: false,
        });
      expect(performance.now() - begun).toBeLessThan(2_000);
      await expect
        .poll(async () => (await a.unary(FactorService.method.listFactors, { subject: eda.person.subject })).factors)
        .toContainEqual(expect.objectContaining({ id: eda.factorId, freezeReason: FreezeReason.ENDPOINT_GONE }));
      const requests = service.requests;
      const next = await open(b, eda);
      expect(errorInfo(await choose(b, eda, next).catch((error: unknown) => error)).reason).toBe('METHOD_NOT_OFFERED');
      expect(service.requests).toBe(requests);
    });
  });

  it.each(['hang', { status: 503 }, { status: 429, headers: { 'retry-after': '3' } }] as const)(
    'that meets %o has another method offered within two seconds, and arrives once the service is well',
    async (trouble) => {
      await undisturbed(async (go) => {
        service.always(undefined);
        const who = await holder(`fay-${JSON.stringify(trouble).length}-${go}`);
        service.always(trouble);
        const challengeId = await open(a, who);
        const begun = performance.now();
        const number = await choose(a, who, challengeId);
        await expect
          .poll(async () => (await read(b, who, challengeId)).challenge?.delivery?.instead, {
            timeout: 2_500,
            interval: 25,
          })
          .toEqual([Method.TOTP]);
        expect(performance.now() - begun).toBeLessThan(2_000);
        service.always(undefined);
        await expect
          .poll(() => service.deliveries.some(({ endpoint }) => endpoint === who.subscription.endpoint), {
            timeout: 20_000,
          })
          .toBe(true);
        expect(await answerOn(1, who, 'approve', number)).toBe('approved');
      });
    },
  );

  it('asked for fifty times over two sidecars reaches the person three times', async () => {
    const gil = await holder('gil');
    const ids: string[] = [];
    for (let round = 0; round < 5; round++) ids.push(await open(a, gil));
    const before = service.requests;
    const results = await Promise.allSettled(
      Array.from({ length: 50 }, (_, index) => {
        const challengeId = ids[index % ids.length] ?? '';
        const command = { challengeId, sessionToken: gil.person.token };
        const client = index % 2 ? a : b;
        return client.unary(ChallengeService.method.answerChallenge, {
          ...command,
          step: { case: 'choose', value: { method: Method.PUSH } },
        });
      }),
    );
    expect(results.length).toBe(50);
    await expect.poll(() => service.requests - before).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(service.requests - before).toBeLessThanOrEqual(3);
  });
});

describe('a link', () => {
  it('begun on one sidecar enrols one browser, on the other, and works once', async () => {
    const person = await enrolledPerson(a, 'ivy');
    const { factorId, material } = await begin(person, {});
    if (material.case !== 'pushEnrollmentUrl') throw new Error(`expected a link, got ${material.case}`);
    expect(material.value.startsWith(`${origin}/push/enroll#`)).toBe(true);
    const ticket = material.value.slice(material.value.indexOf('#') + 1);
    const device = new SoftwarePushDevice(service.subscribe());
    const made = { ticket, subscription: device.subscriptionJson, publicKey: device.publicKey };
    const looked = await post(1, '/push/api/enroll', made);
    expect(looked.json).toMatchObject({ factorId, realm: 'default', subject: 'ivy', displayName: 'Laptop' });
    const challenge = new Uint8Array(Buffer.from(String(looked.json['challenge']), 'base64url'));
    const confirmed = await post(1, '/push/api/confirm', { ...made, signature: device.sign(challenge) });
    expect(confirmed).toMatchObject({ status: 200, json: { displayName: 'Laptop' } });
    const thief = new SoftwarePushDevice(service.subscribe());
    const again = { ticket, subscription: thief.subscriptionJson, publicKey: thief.publicKey };
    expect((await post(0, '/push/api/enroll', again)).status).toBe(410);
    const { factors } = await b.unary(FactorService.method.listFactors, { subject: 'ivy' });
    expect(factors.filter(({ method }) => method === Method.PUSH)).toMatchObject([
      { id: factorId, state: FactorState.ACTIVE },
    ]);
  });
});

describe('what is kept', () => {
  it('has no endpoint, subscription secret or number in the clear: not in logs, metrics or local files', async () => {
    const joy = await holder('joy');
    await choose(a, joy, await open(a, joy));
    await answerOn(1, joy, 'deny');
    const secrets = [joy.subscription.endpoint, joy.subscription.auth, new URL(joy.subscription.endpoint).pathname];
    for (const sidecar of fleet.sidecars) {
      const metrics = await (await fetch(`${sidecar.adminUrl}/metrics`)).text();
      expect(metrics).toContain('sallyport_push_total{outcome="accepted"');
      const files = readdirSync(sidecar.dataDir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
      const all = [sidecar.stdout, sidecar.stderr, metrics, ...files].join('\n');
      for (const secret of secrets) expect(all).not.toContain(secret);
    }
  });
});
