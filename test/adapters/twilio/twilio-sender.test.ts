import dns from 'node:dns';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createMessage } from '#src/adapters/twilio/twilio-request.ts';
import { TwilioSender, type TwilioSenderOptions } from '#src/adapters/twilio/twilio-sender.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { SmsMessage } from '#src/ports/senders.ts';
import { type Certificate, makeCertificates } from '../../../scripts/servers/certificates.ts';
import { took } from '../../support/running-time.ts';
import { complaintsAboutForm, complaintsAboutMessage, exampleMessages } from '../../support/twilio-contract.ts';
import {
  ACCOUNT_SID,
  AUTH_TOKEN,
  FROM_NUMBER,
  TwilioStandIn,
  type TwilioTrouble,
} from '../../support/twilio-stand-in.ts';

const SERVICE = `MG${'b'.repeat(32)}`;
const MESSAGE: SmsMessage = {
  to: '+14155552671',
  body: '918273 is your Acme code.',
  validityMs: 59_999,
  callbackUrl: 'https://auth.example/callbacks/twilio?about=x',
};

let standIn: TwilioStandIn;
beforeAll(async () => {
  standIn = await TwilioStandIn.start();
});
afterEach(() => {
  standIn.always = undefined;
  expect(standIn.complaints.splice(0)).toEqual([]);
});
afterAll(() => standIn[Symbol.asyncDispose]());

/** Only silence has to be waited for; all else has an answer, however slow the machine is. */
const SILENCE_MS = 300;
const PATIENT_MS = 10_000;
const isSilence = ({ kind }: TwilioTrouble) => kind === 'hang' || kind === 'drip';
const timeoutFor = (trouble: TwilioTrouble) => ({ timeoutMs: isSilence(trouble) ? SILENCE_MS : PATIENT_MS });

const options = (over: Partial<TwilioSenderOptions> = {}): TwilioSenderOptions => ({
  accountSid: ACCOUNT_SID,
  authToken: AUTH_TOKEN,
  baseUrl: standIn.url,
  timeoutMs: PATIENT_MS,
  fromNumber: FROM_NUMBER,
  messagingServiceSid: '',
  discardContent: false,
  ...over,
});
const send = (over: Partial<TwilioSenderOptions> = {}, message: Partial<SmsMessage> = {}) =>
  new TwilioSender(options(over)).send({ ...MESSAGE, ...message });
const lastForm = () => standIn.messages.at(-1)?.form;

describe('a message to Twilio', () => {
  it('goes out as Twilio describes it, valid for no longer than its code', async () => {
    expect(await send()).toMatchObject({ outcome: 'accepted', providerId: standIn.messages.at(-1)?.sid });
    expect(lastForm()).toEqual({
      To: MESSAGE.to,
      From: FROM_NUMBER,
      Body: MESSAGE.body,
      ValidityPeriod: '59',
      RiskCheck: 'enable',
      StatusCallback: MESSAGE.callbackUrl,
    });
  });

  it('comes from the messaging service where one is set, and asks not to be kept', async () => {
    await send({ fromNumber: '', messagingServiceSid: SERVICE, discardContent: true }, { callbackUrl: '' });
    expect(lastForm()).toEqual({
      To: MESSAGE.to,
      MessagingServiceSid: SERVICE,
      Body: MESSAGE.body,
      ValidityPeriod: '59',
      RiskCheck: 'enable',
      ContentRetention: 'discard',
    });
  });

  it.each([
    [0, '1'],
    [999, '1'],
    [6_999, '6'],
    [600 * MINUTE, '36000'],
    [601 * MINUTE, '36000'],
  ])('that lives %i ms is valid for %s s', async (validityMs, seconds) => {
    await send({}, { validityMs });
    expect(lastForm()?.['ValidityPeriod']).toBe(seconds);
  });

  it('comes from a number or a service, not from both or neither', () => {
    expect(() => new TwilioSender(options({ messagingServiceSid: SERVICE }))).toThrow(RangeError);
    expect(() => new TwilioSender(options({ fromNumber: '' }))).toThrow(RangeError);
  });

  it('goes to the URL as it is set, with a path in front', async () => {
    await send({ baseUrl: `${standIn.url}/twilio/` });
    expect(standIn.paths.at(-1)).toBe(`/twilio/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`);
  });
});

describe('trouble with Twilio', () => {
  const cases: readonly (readonly [string, TwilioTrouble, object])[] = [
    ['429', { kind: 'error', status: 429, code: 20429 }, { outcome: 'retry', reason: 'PROVIDER_BUSY' }],
    [
      '429 that says when',
      { kind: 'error', status: 429, retryAfter: '7' },
      { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: 7_000 },
    ],
    ['maintenance', { kind: 'error', status: 503, code: 21730 }, { outcome: 'retry', reason: 'PROVIDER_BUSY' }],
    ['500', { kind: 'error', status: 500, code: 20500 }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    [
      '500 that names a message',
      { kind: 'error', status: 500, sid: `SM${'a'.repeat(32)}` },
      { outcome: 'unknown', reason: 'PROVIDER_ERROR' },
    ],
    ['503', { kind: 'error', status: 503 }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    ['a page instead of an answer', { kind: 'html', status: 502 }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    ['a page that says 200', { kind: 'html', status: 200 }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    ['a redirect', { kind: 'html', status: 302 }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    ['no answer', { kind: 'hang' }, { outcome: 'unknown', reason: 'NO_ANSWER' }],
    ['an answer that never ends', { kind: 'drip' }, { outcome: 'unknown', reason: 'NO_ANSWER' }],
    ['an answer that is too large', { kind: 'flood' }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    ['a reset', { kind: 'reset' }, { outcome: 'unknown', reason: 'PROVIDER_ERROR' }],
    [
      'a suspended account',
      { kind: 'error', status: 403, code: 20005 },
      { outcome: 'rejected', reason: 'SENDER_CONFIG', code: '20005', config: true },
    ],
    ['a refusal without a code', { kind: 'error', status: 400 }, { outcome: 'rejected', code: '400', config: true }],
  ];

  it.each(cases)('is told as what it is: %s', async (_, trouble, expected) => {
    standIn.always = trouble;
    const { ms } = await took(async () => expect(await send(timeoutFor(trouble))).toMatchObject(expected));
    expect(ms).toBeLessThan(1_500);
  });

  it('never makes the client try again by itself', async () => {
    for (const [, trouble] of cases) {
      standIn.always = trouble;
      const before = standIn.paths.length;
      await send(timeoutFor(trouble));
      expect(standIn.paths.length - before).toBe(1);
    }
  });

  it('before anything was sent may be tried again: nobody listens, nobody has the name', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    await new Promise((resolve) => server.close(resolve));
    const down = { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined };
    expect(await send({ baseUrl: `http://127.0.0.1:${port}` })).toEqual(down);
    // As a resolver says it, without asking one.
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((name: string, ...rest: readonly unknown[]) => {
      const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), {
        ...{ code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: name },
      });
      process.nextTick(rest.at(-1) as (error: Error) => void, error);
    }) as never);
    try {
      expect(await send({ baseUrl: 'http://no-such-host.invalid' })).toEqual(down);
      expect(lookup).toHaveBeenCalled();
    } finally {
      lookup.mockRestore();
    }
  });
});

describe('TLS to Twilio', () => {
  it('is refused for another name and from another authority, and nothing was sent', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-twilio-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const { caFile, server, wrongName } = makeCertificates(folder);
    const pem = (path: string) => readFileSync(path, 'utf8');
    const start = (of: Certificate) => TwilioStandIn.start({ key: pem(of.keyFile), cert: pem(of.certFile) });
    await using elsewhere = await start(wrongName);
    await using here = await start(server);
    const ca = pem(caFile);
    const refused = { outcome: 'rejected', reason: 'SENDER_CONFIG', code: 'tls', config: true };
    expect(await send({ baseUrl: elsewhere.url, ca })).toEqual(refused);
    expect(await send({ baseUrl: here.url })).toEqual(refused);
    expect([...elsewhere.paths, ...here.paths]).toEqual([]);
    expect(await send({ baseUrl: here.url, ca })).toMatchObject({ outcome: 'accepted' });
  });
});

describe('what the library would say in its errors', () => {
  const secrets = [AUTH_TOKEN, Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64'), '918273', '4155552671'];
  const troubles: readonly TwilioTrouble[] = [
    { kind: 'error', status: 429 },
    { kind: 'error', status: 401, code: 20003 },
    { kind: 'error', status: 500 },
    { kind: 'html', status: 502 },
    { kind: 'hang' },
    { kind: 'reset' },
    { kind: 'drip' },
    { kind: 'flood' },
  ];

  it('leaves the adapter by no way: no result, no output, no property', async () => {
    const written: string[] = [];
    const spies = (['stdout', 'stderr'] as const).map((name) =>
      vi.spyOn(process[name], 'write').mockImplementation((chunk) => {
        written.push(String(chunk));
        return true;
      }),
    );
    vi.stubEnv('TWILIO_LOG_LEVEL', 'debug');
    const seen: unknown[] = [];
    try {
      for (const trouble of troubles) {
        standIn.always = trouble;
        seen.push(await send(timeoutFor(trouble)));
        seen.push(await createMessage(options(timeoutFor(trouble)), { To: MESSAGE.to, Body: MESSAGE.body }));
      }
      seen.push(await send({ baseUrl: 'http://127.0.0.1:1' }));
    } finally {
      vi.unstubAllEnvs();
      for (const spy of spies) spy.mockRestore();
    }
    expect(seen).toHaveLength(2 * troubles.length + 1);
    const all = [inspect(seen, { depth: 20, showHidden: true }), JSON.stringify(seen), ...written].join('\n');
    for (const secret of secrets) expect(all).not.toContain(secret);
  });

  it('is not moved by the environment, nor by what a host looks like: no edge, no region, no label is lost', async () => {
    vi.stubEnv('TWILIO_EDGE', 'sydney');
    vi.stubEnv('TWILIO_REGION', 'au1');
    const asked: string[] = [];
    const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((name: string, ...rest: readonly unknown[]) => {
      asked.push(name);
      const done = rest.at(-1) as (error: null, addresses: readonly object[]) => void;
      done(null, [{ address: '127.0.0.1', family: 4 }]);
    }) as never);
    try {
      const { port } = new URL(standIn.url);
      const baseUrl = `http://sms.egress.zone-1.corp.example:${port}`;
      expect(await send({ baseUrl })).toMatchObject({ outcome: 'accepted' });
      expect(new Set(asked)).toEqual(new Set(['sms.egress.zone-1.corp.example']));
    } finally {
      lookup.mockRestore();
      vi.unstubAllEnvs();
    }
  });
});

describe('the stand-in', () => {
  it('answers as Twilio describes it, from a number and from a service', async () => {
    for (const sender of [{ From: FROM_NUMBER }, { MessagingServiceSid: SERVICE }]) {
      const response = await fetch(`${standIn.url}/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`, {
        method: 'POST',
        headers: { authorization: `Basic ${Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64')}` },
        body: new URLSearchParams({ To: MESSAGE.to, Body: 'hello', ...sender }),
      });
      expect(response.status).toBe(201);
      expect(complaintsAboutMessage(await response.json())).toEqual([]);
    }
  });

  it('is held to a description that takes Twilio’s own examples and refuses what is wrong', () => {
    expect(exampleMessages().length).toBeGreaterThan(2);
    for (const example of exampleMessages()) expect(complaintsAboutMessage(example)).toEqual([]);
    expect(complaintsAboutMessage({ status: 'lost' })).not.toEqual([]);
    expect(complaintsAboutMessage({ sid: 'SM1' })).not.toEqual([]);
    expect(complaintsAboutForm({ To: MESSAGE.to, Body: 'x' })).toEqual([]);
    expect(complaintsAboutForm({ Body: 'x' })).not.toEqual([]);
    expect(complaintsAboutForm({ To: MESSAGE.to, Validity: '5' })).toEqual(['Validity is not a field']);
    expect(complaintsAboutForm({ To: MESSAGE.to, ValidityPeriod: 'soon' })).not.toEqual([]);
  });
});
