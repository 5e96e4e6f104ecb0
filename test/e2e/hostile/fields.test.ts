import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { connectCall } from '../../support/connect-call.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { type HarmWatch, watchHarm } from '../../support/harm-watch.ts';
import { signIn, TRANSFER } from '../../support/people.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { eventually, factOf, trailOf } from '../../support/trail-of.ts';

const INVALID = 3;

let sidecar: Sidecar;
let client: GrpcClient;
let raw: RawGrpc;
let state: HarmWatch;
beforeAll(async () => {
  sidecar = await Sidecar.start();
  client = sidecar.client();
  raw = new RawGrpc(sidecar.grpcAddress);
  state = await watchHarm(sidecar);
});
afterAll(async () => {
  await state.unharmed();
  raw[Symbol.dispose]();
  await sidecar[Symbol.asyncDispose]();
});

const CREATE = `${SessionService.typeName}/CreateSession`;
const OPEN = `${ChallengeService.typeName}/OpenChallenge`;
const ANSWER = `${ChallengeService.typeName}/AnswerChallenge`;
const CANCEL = `${ChallengeService.typeName}/CancelChallenge`;
const REDEEM = `${ChallengeService.typeName}/RedeemReceipt`;
const BEGIN = `${FactorService.typeName}/BeginEnrollment`;
const CONFIRM = `${FactorService.typeName}/ConfirmEnrollment`;
const REMOVE = `${FactorService.typeName}/RemoveFactor`;
const REVOKE = `${SessionService.typeName}/RevokeSession`;
const LIST = `${SessionService.typeName}/ListSessions`;
const VALIDATE = `${SessionService.typeName}/ValidateSession`;
const UPDATE = `${SessionService.typeName}/UpdateSession`;
const UNLOCK = 'sallyport.v1.AdminService/UnlockSubject';
const QUERY = `${AuditService.typeName}/QueryEvents`;

const CHALLENGE_ID = `chl_${'0'.repeat(26)}`;
const FACTOR_ID = `fac_${'0'.repeat(26)}`;
const SESSION_ID = `ses_${'0'.repeat(26)}`;

const call = (procedure: string, request: object) =>
  connectCall(sidecar.httpUrl, procedure, request, { authorization: `Bearer ${sidecar.operatorToken}` });
const namesOf = (message: string, field: string) => message.startsWith(`${field}:`) || message.startsWith(`${field}[`);
const many = (count: number, keyOf = (index: number) => `k${index}`) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [keyOf(index), 'v']));
const open = (extra: object) => ({ subject: 's', action: TRANSFER, ...extra });
const begin = (extra: object) => ({
  subject: 's',
  method: 'METHOD_TOTP',
  consent: { textVersion: '1', language: 'en' },
  ...extra,
});

describe('limits of fields', () => {
  // What it is, the call with a value of that size, the largest size that passes, the field as the proto names it.
  const limits: readonly [string, string, (size: number) => object, number, string][] = [
    ['a realm', CREATE, (size) => ({ subject: 's', realm: 'r'.repeat(size) }), 64, 'realm'],
    ['a subject', CREATE, (size) => ({ subject: 's'.repeat(size) }), 128, 'subject'],
    [
      'an address',
      CREATE,
      (size) => ({ subject: 's', client: { ipAddress: '1'.repeat(size) } }),
      64,
      'client.ip_address',
    ],
    [
      'an agent',
      CREATE,
      (size) => ({ subject: 's', client: { userAgent: 'u'.repeat(size) } }),
      1024,
      'client.user_agent',
    ],
    [
      'a device id',
      CREATE,
      (size) => ({ subject: 's', client: { deviceId: 'd'.repeat(size) } }),
      128,
      'client.device_id',
    ],
    ['the number of labels', CREATE, (size) => ({ subject: 's', labels: many(size) }), 16, 'labels'],
    ['the key of a label', CREATE, (size) => ({ subject: 's', labels: { ['k'.repeat(size)]: 'v' } }), 64, 'labels'],
    ['a label', CREATE, (size) => ({ subject: 's', labels: { k: 'v'.repeat(size) } }), 256, 'labels'],
    ['a login receipt', CREATE, (size) => ({ subject: 's', receipt: 'r'.repeat(size) }), 8192, 'receipt'],
    [
      'a resource',
      OPEN,
      (size) => open({ action: { ...TRANSFER, resource: 'r'.repeat(size) } }),
      512,
      'action.resource',
    ],
    ['an action', OPEN, (size) => open({ action: { ...TRANSFER, action: 'a'.repeat(size) } }), 128, 'action.action'],
    [
      'the number of details',
      OPEN,
      (size) => open({ action: { ...TRANSFER, details: many(size) } }),
      32,
      'action.details',
    ],
    [
      'the key of a detail',
      OPEN,
      (size) => open({ action: { ...TRANSFER, details: { ['k'.repeat(size)]: 'v' } } }),
      64,
      'action.details',
    ],
    [
      'a detail',
      OPEN,
      (size) => open({ action: { ...TRANSFER, details: { k: 'v'.repeat(size) } } }),
      1024,
      'action.details',
    ],
    ['an audience', OPEN, (size) => open({ audience: 'a'.repeat(size) }), 256, 'audience'],
    ['a session token', OPEN, (size) => open({ sessionToken: 't'.repeat(size) }), 4096, 'session_token'],
    ['asked methods', OPEN, (size) => open({ methods: Array(size).fill('METHOD_TOTP') }), 8, 'methods'],
    [
      'a code',
      ANSWER,
      (size) => ({ challengeId: CHALLENGE_ID, proof: { totp: { code: '1'.repeat(size) } } }),
      64,
      'proof.totp.code',
    ],
    [
      'a backup code',
      ANSWER,
      (size) => ({ challengeId: CHALLENGE_ID, proof: { backupCode: { code: '1'.repeat(size) } } }),
      64,
      'proof.backup_code.code',
    ],
    [
      'a credential',
      ANSWER,
      (size) => ({ challengeId: CHALLENGE_ID, proof: { webauthn: { credentialJson: 'j'.repeat(size) } } }),
      32_768,
      'proof.webauthn.credential_json',
    ],
    [
      'a signature',
      ANSWER,
      (size) => ({ challengeId: CHALLENGE_ID, proof: { push: { signature: Buffer.alloc(size).toString('base64') } } }),
      512,
      'proof.push.signature',
    ],
    ['a reason to cancel', CANCEL, (size) => ({ challengeId: CHALLENGE_ID, reason: 'r'.repeat(size) }), 256, 'reason'],
    ['a receipt', REDEEM, (size) => ({ subject: 's', action: TRANSFER, receipt: 'r'.repeat(size) }), 8192, 'receipt'],
    ['a display name', BEGIN, (size) => begin({ displayName: 'n'.repeat(size) }), 64, 'display_name'],
    ['an account name', BEGIN, (size) => begin({ accountName: 'n'.repeat(size) }), 128, 'account_name'],
    [
      'a version of a consent',
      BEGIN,
      (size) => begin({ consent: { textVersion: 'v'.repeat(size), language: 'en' } }),
      64,
      'consent.text_version',
    ],
    [
      'a language',
      BEGIN,
      (size) => begin({ consent: { textVersion: '1', language: 'a'.repeat(size) } }),
      35,
      'consent.language',
    ],
    ['pictures', BEGIN, (size) => begin({ qrFormats: Array(size).fill('QR_FORMAT_SVG') }), 8, 'qr_formats'],
    [
      'a code to confirm',
      CONFIRM,
      (size) => ({ subject: 's', factorId: FACTOR_ID, code: '1'.repeat(size) }),
      64,
      'code',
    ],
    ['a token to check', VALIDATE, (size) => ({ token: 't'.repeat(size) }), 4096, 'token'],
    ['a token to change', UPDATE, (size) => ({ token: 't'.repeat(size) }), 4096, 'token'],
    ['a page token', LIST, (size) => ({ subject: 's', pageToken: 'p'.repeat(size) }), 1024, 'page_token'],
    ['a reason to unlock', UNLOCK, (size) => ({ subject: 's', reason: 'r'.repeat(size) }), 256, 'reason'],
    [
      'types to search',
      QUERY,
      (size) => ({ filter: { types: Array(size).fill('session.created') } }),
      32,
      'filter.types',
    ],
  ];

  it.each(limits)(
    'takes %s up to its limit and refuses more by name',
    async (_what, procedure, requestOf, most, field) => {
      const within = await call(procedure, requestOf(most));
      expect(within.reason === 'FIELD_INVALID' && namesOf(within.message, field), within.text).toBe(false);
      const over = await call(procedure, requestOf(most + 1));
      expect(over).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'FIELD_INVALID' });
      expect(namesOf(over.message, field), over.message).toBe(true);
    },
  );

  it('takes sixteen sessions to end, each a live one of the person', async () => {
    const ending = (count: number) => call(CREATE, { subject: 's', endSessionIds: Array(count).fill(SESSION_ID) });
    expect((await ending(16)).message).toContain('live session');
    expect(await ending(17)).toMatchObject({ reason: 'FIELD_INVALID' });
    expect((await ending(17)).message).toContain('at most 16');
  });

  it('counts bytes, not characters', async () => {
    expect(await call(CREATE, { subject: '€'.repeat(42) })).toMatchObject({ status: 200 });
    expect(await call(CREATE, { subject: '€'.repeat(43) })).toMatchObject({ reason: 'FIELD_INVALID' });
  });

  it('names at most eight fields, and never says what was in them', async () => {
    const secret = 'hunter2-'.repeat(200);
    const bad = await call(BEGIN, {
      subject: secret,
      realm: secret,
      displayName: secret,
      accountName: secret,
      replaces: secret,
      requestId: secret,
      phoneNumber: secret,
      consent: { textVersion: secret, language: secret },
      client: { ipAddress: secret, userAgent: secret, deviceId: secret },
    });
    expect(bad).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    expect(bad.text).not.toContain('hunter2');
    expect(bad.text.length).toBeLessThan(8_192);
  });
});

describe('fields that are absent', () => {
  const absent: readonly [string, object, string][] = [
    [CREATE, {}, 'subject'],
    [OPEN, { subject: 's' }, 'action'],
    [OPEN, { action: TRANSFER }, 'subject'],
    [OPEN, open({ action: { action: 'a' } }), 'action.resource'],
    [OPEN, open({ action: { resource: 'r' } }), 'action.action'],
    [ANSWER, { challengeId: CHALLENGE_ID }, 'step'],
    [ANSWER, { proof: { totp: { code: '123456' } } }, 'challenge_id'],
    [ANSWER, { challengeId: CHALLENGE_ID, proof: {} }, 'proof.kind'],
    [ANSWER, { challengeId: CHALLENGE_ID, choose: {} }, 'choose.method'],
    [REDEEM, { subject: 's', action: TRANSFER }, 'receipt'],
    [REDEEM, { subject: 's', receipt: 'r' }, 'action'],
    [REDEEM, { receipt: 'r', action: TRANSFER }, 'subject'],
    [BEGIN, { subject: 's' }, 'method'],
    [CONFIRM, { subject: 's', factorId: FACTOR_ID }, 'proof'],
    [REMOVE, { subject: 's' }, 'factor_id'],
    [REVOKE, {}, 'session'],
    [LIST, {}, 'subject'],
    [UNLOCK, { subject: 's' }, 'reason'],
  ];

  it.each(absent)('are named: %s %j', async (procedure, request, field) => {
    const answer = await call(procedure, request);
    expect(answer).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'FIELD_INVALID' });
    expect(namesOf(answer.message, field), answer.message).toBe(true);
  });

  it('do not become a valid session token', async () => {
    expect(await call(VALIDATE, {})).toMatchObject({ status: 401, reason: 'SESSION_INVALID' });
    expect(await call(UPDATE, {})).toMatchObject({ status: 401, reason: 'SESSION_INVALID' });
  });
});

describe('values that are unknown', () => {
  it('refuses enum numbers and names that no release knows, in binary and in JSON', async () => {
    const challenge = Buffer.from(CHALLENGE_ID);
    // OpenChallengeRequest: subject "s", purpose 99.
    const binary: readonly [string, number[]][] = [
      [OPEN, [0x12, 1, 0x73, 0x20, 99]],
      [OPEN, [0x12, 1, 0x73, 0x30, 99]],
      [OPEN, [0x12, 1, 0x73, 0x3a, 1, 99]],
      [OPEN, [0x12, 1, 0x73, 0x58, 99]],
      [OPEN, [0x12, 1, 0x73, 0x58, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]],
      [BEGIN, [0x12, 1, 0x73, 0x18, 77]],
      [BEGIN, [0x12, 1, 0x73, 0x18, 1, 0x52, 1, 77]],
      [ANSWER, [0x12, challenge.length, ...challenge, 0x2a, 2, 0x08, 77]],
    ];
    for (const [procedure, body] of binary) {
      const answer = await raw.call(procedure, frame(Uint8Array.from(body)));
      expect(answer, `${procedure} ${body}`).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    }
    for (const request of [
      open({ purpose: 99 }),
      open({ purpose: 'CHALLENGE_PURPOSE_ROOT' }),
      open({ sensitivity: -1 }),
      open({ methods: ['METHOD_PALM'] }),
      open({ method: 1e10 }),
    ]) {
      expect(await call(OPEN, request), JSON.stringify(request)).toMatchObject({ reason: 'FIELD_INVALID' });
    }
  });

  it('refuses JSON of the wrong shape, and fields that it does not know', async () => {
    const wrong = [
      '',
      '[]',
      'null',
      '"x"',
      '{',
      '{"subject":1}',
      '{"subject":{}}',
      '{"subject":"s","labels":[]}',
      '{"subject":"s","sessionId":"ses_chosen"}',
      '{"subject":"s","token":"sps_chosen"}',
      '{"subject":"s","subject_":"x"}',
      '{"subject":"\\ud800"}',
      '[[[[[[',
      '{"subject":"s"}{"subject":"t"}',
      `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
    ];
    for (const body of wrong) {
      const answer = await connectCall(sidecar.httpUrl, CREATE, body);
      expect(answer, body.slice(0, 60)).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    }
    const notUtf8 = await connectCall(
      sidecar.httpUrl,
      CREATE,
      Uint8Array.from(Buffer.from('7b227375626a656374223a22ff227d', 'hex')),
    );
    expect(notUtf8).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
  });

  it('refuses ids of another kind, or of none', async () => {
    const wrong = [
      SESSION_ID,
      FACTOR_ID,
      'chl_',
      'chl_short',
      `${CHALLENGE_ID}0`,
      `CHL_${'0'.repeat(26)}`,
      `chl_${'I'.repeat(26)}`,
      `${CHALLENGE_ID}\n`,
      '../../etc',
      "' OR 1=1 --",
    ];
    for (const challengeId of wrong) {
      const answer = await call(CANCEL, { challengeId });
      expect(answer, challengeId).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    }
    expect(await call(CANCEL, { challengeId: CHALLENGE_ID })).toMatchObject({ reason: 'CHALLENGE_NOT_FOUND' });
    expect(await call(REVOKE, { sessionId: CHALLENGE_ID })).toMatchObject({ reason: 'FIELD_INVALID' });
    expect(await call(REMOVE, { subject: 's', factorId: SESSION_ID })).toMatchObject({ reason: 'FIELD_INVALID' });
    expect(await call(QUERY, { filter: { sessionId: FACTOR_ID } })).toMatchObject({ reason: 'FIELD_INVALID' });
  });
});

describe('characters that cannot be seen', () => {
  const unseen: readonly [string, string][] = [
    ['NUL', 'a\0b'],
    ['line breaks', 'a\r\nb'],
    ['ANSI colours', 'a\u001b[31mb'],
    ['a bell', 'a\u0007b'],
    ['DEL', 'a\u007fb'],
    ['C1 controls', 'a\u009bb'],
    ['right-to-left override', 'a\u202eb'],
    ['a zero-width joiner', 'a\u200db'],
    ['a line separator', 'a\u2028b'],
    ['a byte order mark', '\ufeffa'],
  ];

  it.each(unseen)('refuses %s in names, reasons, resources and keys', async (_what, text) => {
    const requests: readonly [string, object, string][] = [
      [CREATE, { subject: text }, 'subject'],
      [CREATE, { subject: 's', labels: { [text]: 'v' } }, 'labels'],
      [OPEN, open({ action: { ...TRANSFER, resource: text } }), 'action.resource'],
      [OPEN, open({ action: { ...TRANSFER, action: text } }), 'action.action'],
      [OPEN, open({ action: { ...TRANSFER, details: { [text]: 'v' } } }), 'action.details'],
      [OPEN, open({ audience: text }), 'audience'],
      [BEGIN, begin({ displayName: text }), 'display_name'],
      [BEGIN, begin({ accountName: text }), 'account_name'],
      [CANCEL, { challengeId: CHALLENGE_ID, reason: text }, 'reason'],
      [UNLOCK, { subject: 's', reason: text }, 'reason'],
    ];
    for (const [procedure, request, field] of requests) {
      const answer = await call(procedure, request);
      expect(answer, `${procedure} ${field}`).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
      expect(namesOf(answer.message, field), answer.message).toBe(true);
    }
  });

  it('takes them in agents, which are what browsers send, and writes them down encoded', async () => {
    const userAgent = 'Evil/1.0\r\nFAKE {"type":"challenge.approved"}\u001b[2J\u001b]0;title\u0007\0\u202e';
    const made = await client.unary(SessionService.method.createSession, {
      subject: 'odd-agent',
      client: { ipAddress: '198.51.100.1\r\nx: y', userAgent, deviceId: 'd\u001b[31m' },
    });
    expect(made.token).not.toBe('');
    const [event] = await trailOf(sidecar, { subject: 'odd-agent', types: ['session.created'] });
    const written = [event?.userAgent, event?.ipAddress, ...(event?.facts.map(({ value }) => value) ?? [])].join('');
    expect(written).toContain('Evil/1.0');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point.
    expect(written).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
  });
});

describe('pages and cursors', () => {
  it('refuses negative sizes and lowers large ones', async () => {
    for (const pageSize of [-1, -2_147_483_648]) {
      expect(await call(LIST, { subject: 's', pageSize })).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
      expect(await call(QUERY, { pageSize })).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    }
    expect(await call(LIST, { subject: 's', pageSize: 2_147_483_647 })).toMatchObject({ status: 200 });
    const all = await call(QUERY, { pageSize: 2_147_483_647 });
    expect((all.body['events'] as unknown[]).length).toBeLessThanOrEqual(1_000);
    expect(await call(LIST, { subject: 's', pageSize: 2_147_483_648 })).toMatchObject({ status: 400 });
  });

  it('refuses page tokens that it did not make, or made for other arguments', async () => {
    for (let index = 0; index < 3; index += 1) await signIn(client, 'paged');
    await signIn(client, 'other');
    const first = await client.unary(SessionService.method.listSessions, { subject: 'paged', pageSize: 1 });
    expect(first.nextPageToken).not.toBe('');
    const forged = [
      'x',
      '0',
      'null',
      Buffer.from('{"subject":"other"}').toString('base64url'),
      `${first.nextPageToken}A`,
      first.nextPageToken.slice(0, -2),
      first.nextPageToken.split('').reverse().join(''),
    ];
    for (const pageToken of forged) {
      const answer = await call(LIST, { subject: 'paged', pageSize: 1, pageToken });
      expect(answer, pageToken).toMatchObject({ status: 400, reason: 'TOKEN_INVALID' });
    }
    const elsewhere = await call(LIST, { subject: 'other', pageSize: 1, pageToken: first.nextPageToken });
    expect(elsewhere).toMatchObject({ status: 400, reason: 'TOKEN_INVALID' });
    const events = await call(QUERY, { filter: { subject: 'paged' }, pageSize: 1 });
    const pageToken = String(events.body['nextPageToken']);
    expect(await call(QUERY, { filter: { subject: 'paged' }, pageSize: 1, pageToken })).toMatchObject({ status: 200 });
    expect(await call(QUERY, { filter: { subject: 'other' }, pageSize: 1, pageToken })).toMatchObject({
      reason: 'TOKEN_INVALID',
    });
  });

  it.each(['x', '-1', '999999999999999999999', 'AAAA', '{"p":0}'])(
    'refuses the revocation cursor "%s"',
    async (cursor) => {
      const stream = client.serverStream(SessionService.method.watchRevocations, { cursor });
      const outcome = await new Promise<unknown>((resolve) => {
        stream.on('data', () => resolve('data'));
        stream.on('error', resolve);
        stream.on('end', () => resolve('end'));
      });
      stream.cancel();
      expect(errorInfo(outcome)).toMatchObject({ code: INVALID, reason: 'TOKEN_INVALID' });
    },
  );
});

describe('request ids', () => {
  const requestId = 'b3b1c9d0-5a7e-4a53-9a51-27d1b0b9a001';

  it.each([
    '1',
    'x'.repeat(36),
    `{${requestId}}`,
    requestId.slice(0, -1),
    ` ${requestId}`,
    `${requestId}\n`,
    '../../x',
  ])('refuses "%s", which is no UUID', async (wrong) => {
    const answer = await call(CREATE, { subject: 'ids', requestId: wrong });
    expect(answer).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    expect(namesOf(answer.message, 'request_id'), answer.message).toBe(true);
  });

  it('gives the first answer to a repeat, and refuses another request under the same id, with an event', async () => {
    const first = await client.unary(SessionService.method.createSession, { subject: 'ids', requestId });
    const again = await client.unary(SessionService.method.createSession, { subject: 'ids', requestId });
    expect(again.token).toBe(first.token);
    for (const other of [{ subject: 'ids', labels: { a: 'b' } }, { subject: 'ids-2' }]) {
      const refused = await client.unary(SessionService.method.createSession, { ...other, requestId }).catch(errorInfo);
      expect(refused).toMatchObject({ code: INVALID, reason: 'REQUEST_ID_REUSED' });
    }
    expect((await client.unary(SessionService.method.listSessions, { subject: 'ids' })).sessions).toHaveLength(1);
    expect((await client.unary(SessionService.method.listSessions, { subject: 'ids-2' })).sessions).toHaveLength(0);
    const events = await eventually(sidecar, { subject: 'ids' }, (event) => event.reason === 'REQUEST_ID_REUSED');
    expect(events.length).toBeGreaterThan(0);
  });

  it('does not hand the answer of one method, or of one caller, to another', async () => {
    const id = 'b3b1c9d0-5a7e-4a53-9a51-27d1b0b9a002';
    const made = await client.unary(SessionService.method.createSession, { subject: 'ids-3', requestId: id });
    const overHttp = await connectCall(sidecar.httpUrl, CREATE, { subject: 'ids-3', requestId: id });
    if (overHttp.status === 200) expect(overHttp.body['token']).not.toBe(made.token);
    const opened = await call(OPEN, {
      subject: 'ids-3',
      action: TRANSFER,
      sensitivity: 'SENSITIVITY_LOW',
      requestId: id,
    });
    expect(JSON.stringify(opened.body)).not.toContain(made.token);
  });
});

it('writes refused fields down by name, never by content', async () => {
  await call(CREATE, { subject: 'noted', labels: { k: 'planted-content-'.repeat(40) } });
  const [event] = await eventually(sidecar, { subject: 'noted' }, (one) => one.type === 'request.refused');
  expect(event).toMatchObject({ reason: 'FIELD_INVALID', caller: 'http/operator' });
  expect(factOf(event, 'field')).toBe('labels');
  expect(JSON.stringify(event?.facts)).not.toContain('planted');
});
