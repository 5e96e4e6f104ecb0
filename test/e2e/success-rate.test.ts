import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificates } from '../../scripts/servers/certificates.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import type { GrpcClient } from '../support/grpc-client.ts';
import { HonestPerson, type Outcome, type Way } from '../support/honest-person.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { type PushReply, PushServiceStandIn } from '../support/push-service-stand-in.ts';
import { SeededRandom } from '../support/random.ts';
import { ACCOUNT_SID, AUTH_TOKEN, FROM_NUMBER, TwilioStandIn, type TwilioTrouble } from '../support/twilio-stand-in.ts';

const PEOPLE = 120;
const CHALLENGES: Readonly<Record<Way, number>> = { totp: 240, sms: 240, push: 240, webauthn: 240, backup_code: 40 };
/** Of requests to providers, and of messages that providers took. */
const FAULTS = 0.1;
const AT_ONCE = 12;
const GOAL = 0.95;
const LIMIT_SECONDS = 60;

/** What providers do wrong, by Twilio's and the push services' own words. */
const TWILIO_TROUBLES: readonly TwilioTrouble[] = [
  { kind: 'error', status: 429, retryAfter: '1' },
  { kind: 'html', status: 500 },
  { kind: 'html', status: 503 },
  { kind: 'hang' },
  { kind: 'hang', taken: true },
  { kind: 'reset' },
  { kind: 'reset', taken: true },
  { kind: 'error', status: 400, code: 21610 },
  { kind: 'error', status: 400, code: 21408 },
];
const PUSH_TROUBLES: readonly PushReply[] = [
  { status: 429, headers: { 'retry-after': '1' } },
  { status: 500 },
  { status: 503 },
  { status: 410 },
  { status: 404 },
  'hang',
  'reset',
];

const fractionsOf = (seed: string) => {
  const random = new SeededRandom(seed);
  return () => Buffer.from(random.bytes(4)).readUInt32BE() / 2 ** 32;
};
const fraction = fractionsOf('honest people');
const below = (bound: number) => Math.floor(fraction() * bound);
/** How often each provider was asked, and how often it failed. */
const asked = { sms: 0, push: 0, lost: 0 };
const failed = { sms: 0, push: 0, lost: 0 };
/** A sequence for each, so that it is not for the order of calls to say how many fail. */
const fates = { sms: fractionsOf('sms'), push: fractionsOf('push'), lost: fractionsOf('lost') };
const rolls = (what: keyof typeof asked): boolean => {
  asked[what] += 1;
  if (fates[what]() >= FAULTS) return false;
  failed[what] += 1;
  return true;
};

let folder: string;
let twilio: TwilioStandIn;
let push: PushServiceStandIn;
let fleet: Fleet;
let people: readonly HonestPerson[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-success-'));
  const certificates = makeCertificates(folder);
  twilio = await TwilioStandIn.start();
  push = await PushServiceStandIn.start(certificates.server);
  const ports = [await freePort(), await freePort()];
  const origin = `http://localhost:${ports[0]}`;
  fleet = await startFleet({
    sidecars: 2,
    settings: {
      ...UNHURRIED,
      MFA_METHODS: '["totp","sms","push","webauthn","backup_code"]',
      TWILIO_ACCOUNT_SID: ACCOUNT_SID,
      TWILIO_AUTH_TOKEN: AUTH_TOKEN,
      TWILIO_FROM_NUMBER: FROM_NUMBER,
      SALLYPORT_TWILIO_BASE_URL: twilio.url,
      SALLYPORT_TWILIO_TIMEOUT: '3s',
      SALLYPORT_SMS_MAX_PER_PREFIX_HOUR: '100000',
      SALLYPORT_LISTENERS_PUBLIC_URL: origin,
      SALLYPORT_PUSH_SUBJECT: 'mailto:security@example.com',
      SALLYPORT_PUSH_HOSTS: '["localhost"]',
      SALLYPORT_PUSH_CA_FILE: certificates.caFile,
      SALLYPORT_PUSH_ALLOW_PRIVATE_HOSTS: 'true',
      SALLYPORT_PUSH_TIMEOUT: '3s',
      SALLYPORT_WEBAUTHN_RP_ID: 'localhost',
      SALLYPORT_WEBAUTHN_ORIGINS: JSON.stringify(['http://localhost:4000']),
    },
    settingsOf: (index) => ({ SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${ports[index]}` }),
  });
  const clients = [fleet.client(0), fleet.client(1)];
  let turn = 0;
  const next = () => (turn++ % 2 === 0 ? 0 : 1);
  const { applicationServerKey } = (await (await fetch(`http://127.0.0.1:${ports[1]}/push/config.json`)).json()) as {
    readonly applicationServerKey: string;
  };
  const around = {
    client: () => clients[next()] as GrpcClient,
    twilio,
    push,
    vapidKey: applicationServerKey,
    async post(path: string, body: Readonly<Record<string, unknown>>) {
      const text = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value);
      const response = await fetch(`http://127.0.0.1:${ports[next()]}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', origin },
        body: JSON.stringify(Object.fromEntries(Object.entries(body).map(([name, value]) => [name, text(value)]))),
      });
      return (await response.json()) as Record<string, unknown>;
    },
    isLost: () => rolls('lost'),
    webauthnOrigin: 'http://localhost:4000',
  };
  people = Array.from({ length: PEOPLE }, (_, index) => new HonestPerson(around, index));
  await atMost(3, people, (person) => person.enrol());
}, 600_000);
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
  await push[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs `work` for all of them, so many at a time. */
async function atMost<T>(count: number, all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const waiting = [...all];
  const worker = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one);
  };
  await Promise.all(Array.from({ length: count }, worker));
}

/** Each person's challenges, one after the other; which methods, in what order, by chance. */
function plans(): readonly { readonly person: HonestPerson; readonly ways: Way[] }[] {
  const planned = people.map((person) => ({ person, ways: [] as Way[] }));
  for (const [way, count] of Object.entries(CHALLENGES) as [Way, number][])
    for (let number = 0; number < count; number += 1) planned[number % PEOPLE]?.ways.push(way);
  for (const { ways } of planned)
    for (let last = ways.length - 1; last > 0; last -= 1) {
      const other = below(last + 1);
      [ways[last], ways[other]] = [ways[other] as Way, ways[last] as Way];
    }
  return planned;
}

const percentile = (sorted: readonly number[], share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;

/** One line for each method: how many, how many of them in time, by that very method, and how long it took. */
function table(outcomes: readonly Outcome[]): string {
  const rows = (Object.keys(CHALLENGES) as Way[]).map((way) => {
    const own = outcomes.filter((one) => one.way === way);
    const good = own.filter(isGood);
    const direct = good.filter(({ by }) => by === way).length;
    const seconds = own.map((one) => one.seconds).sort((a, b) => a - b);
    const share = (count: number) => `${((100 * count) / Math.max(1, own.length)).toFixed(1)} %`;
    return `${way.padEnd(12)} ${String(own.length).padStart(4)} ${share(good.length).padStart(8)} ${share(
      direct,
    ).padStart(
      10,
    )} ${percentile(seconds, 0.5).toFixed(2).padStart(7)} ${percentile(seconds, 0.99).toFixed(2).padStart(7)}`;
  });
  return ['method       runs  success  by itself   p50 s   p99 s', ...rows].join('\n');
}

const isGood = ({ approved, seconds }: Outcome) => approved && seconds <= LIMIT_SECONDS;

/** Sums a counter over both sidecars, by the labels that are asked for. */
async function counted(name: string, ...labels: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const sums = new Map<string, number>();
  for (const { adminUrl } of fleet.sidecars) {
    const text = await (await fetch(`${adminUrl}/metrics`)).text();
    for (const [, named = '', value] of text.matchAll(new RegExp(`^${name}\\{([^}]*)\\} (\\d+)$`, 'gm'))) {
      const of = Object.fromEntries(
        [...named.matchAll(/(\w+)="([^"]*)"/g)].map(([, key = '', said = '']) => [key, said]),
      );
      const key = labels.map((label) => of[label] ?? '').join(' ');
      sums.set(key, (sums.get(key) ?? 0) + Number(value));
    }
  }
  return sums;
}

describe('1,000 challenges of honest people, with one in ten requests to providers failing', () => {
  it('succeed within 60 seconds in at least 95 of 100 cases, and the metrics say the same', {
    timeout: 1_200_000,
  }, async () => {
    const before = await counted('sallyport_challenges_ended_total', 'state');
    twilio.chance = () => (rolls('sms') ? TWILIO_TROUBLES[below(TWILIO_TROUBLES.length)] : undefined);
    push.chance = () => (rolls('push') ? PUSH_TROUBLES[below(PUSH_TROUBLES.length)] : undefined);
    const outcomes: Outcome[] = [];
    await atMost(AT_ONCE, plans(), async ({ person, ways }) => {
      for (const way of ways) outcomes.push(await person.prove(way));
    });
    const good = outcomes.filter(isGood);
    const rate = good.length / outcomes.length;
    const faults = (Object.keys(asked) as (keyof typeof asked)[]).map(
      (what) => `${what}: ${failed[what]} of ${asked[what]}`,
    );
    const ended = await counted('sallyport_challenges_ended_total', 'method', 'state', 'reason');
    process.stdout.write(
      [
        table(outcomes),
        `in all ${outcomes.length}, ${(100 * rate).toFixed(2)} % within ${LIMIT_SECONDS} s; faults of ${faults.join(', ')}`,
        ...outcomes.filter((one) => !isGood(one)).map((one) => JSON.stringify(one)),
        ...[...ended].sort().map(([labels, count]) => `${labels}: ${count}`),
      ]
        .join('\n')
        .concat('\n'),
    );
    expect(outcomes).toHaveLength(1_000);
    expect(failed.sms / asked.sms).toBeGreaterThan(0.05);
    expect(failed.push / asked.push).toBeGreaterThan(0.05);
    expect(rate).toBeGreaterThanOrEqual(GOAL);
    for (const way of Object.keys(CHALLENGES) as Way[]) {
      const own = outcomes.filter((one) => one.way === way);
      expect(own.filter(isGood).length / own.length, way).toBeGreaterThanOrEqual(GOAL);
    }
    // What people saw is what whoever is on call sees.
    const after = await counted('sallyport_challenges_ended_total', 'state');
    const approved = (after.get('APPROVED') ?? 0) - (before.get('APPROVED') ?? 0);
    expect(approved).toBe(outcomes.filter((one) => one.approved).length);
    for (const by of Object.keys(CHALLENGES) as Way[]) {
      const seen = outcomes.filter((one) => one.by === by).length;
      expect(ended.get(`${by} APPROVED PROOF`) ?? 0, by).toBeGreaterThanOrEqual(seen);
    }
    const took = await counted('sallyport_challenge_duration_seconds_bucket', 'state', 'le');
    expect(took.get('APPROVED 60')).toBe(took.get('APPROVED +Inf'));
    expect(twilio.complaints).toEqual([]);
    expect(push.refusals).toEqual([]);
  });
});
