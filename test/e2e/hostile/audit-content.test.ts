import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { toJsonString } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AuditService,
  type ExportEventsResponse,
  ExportEventsResponseSchema,
  QueryEventsResponseSchema,
} from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengePurpose, ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, QrFormat } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { connectCall } from '../../support/connect-call.ts';
import { errorInfo } from '../../support/grpc-client.ts';
import { awaySteps, CONSENT, openTransfer, TRANSFER } from '../../support/people.ts';
import { foundIn } from '../../support/secret-search.ts';
import { projectRoot, Sidecar } from '../../support/sidecar.ts';
import { answer, backupCode, totp } from '../../support/step-up.ts';
import { oathtoolCode } from '../../support/totp-code.ts';

const SUBJECT = 'planted-subject-7c1f';
const CLIENT = {
  ipAddress: '198.51.100.77',
  userAgent: 'PlantedAgent/9.9 (secret-in-agent-4b2e)',
  deviceId: 'planted-device-51aa',
};

/** Where things end up: files by name, logs, metrics, exports. */
const sinks = new Map<string, Buffer>();
/** What must not be found there, by what it is. */
const secrets = new Map<string, string | Buffer>();
let sidecar: Sidecar;

/** One whole life: sign-in, enrolment, wrong and right proofs, receipts, step-up, renewal, refusals of all kinds. */
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: { SALLYPORT_LOG_LEVEL: 'debug', SALLYPORT_AUDIT_FOLD_WINDOW: '1s' } });
  const client = sidecar.client();
  const operator = sidecar.operator();
  secrets.set('operator token', sidecar.operatorToken);
  const { method: session } = SessionService;
  const { method: factor } = FactorService;
  const { method: challenge } = ChallengeService;

  const signedIn = await client.unary(session.createSession, { subject: SUBJECT, client: CLIENT });
  secrets.set('first session token', signedIn.token);
  const begun = await client.unary(factor.beginEnrollment, {
    subject: SUBJECT,
    method: Method.TOTP,
    sessionToken: signedIn.token,
    consent: CONSENT,
    client: CLIENT,
    qrFormats: [QrFormat.SVG],
    requestId: '1f0c0a3e-7d0b-4c8f-9a61-3b5f5a6c0d01',
  });
  if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
  const key = begun.material.value.manualKey.replaceAll(' ', '');
  secrets.set('seed in base32', key);
  secrets.set('seed in groups', begun.material.value.manualKey);
  const seed = fromBase32(key);
  secrets.set('seed', seed);
  secrets.set('seed in hex', seed.toString('hex'));
  secrets.set('seed in base64', seed.toString('base64').replace(/=+$/, ''));
  await awaySteps(12_000);
  const startedAt = Date.now();
  const codes = [-1, 0, 1].map((steps) => oathtoolCode(key, steps, startedAt));
  for (const [index, code] of codes.entries()) secrets.set(`code ${index}`, code);
  const [first = '', second = '', third = ''] = codes;
  const confirmed = await client.unary(factor.confirmEnrollment, {
    subject: SUBJECT,
    factorId: begun.factor?.id ?? '',
    proof: { case: 'code', value: first },
    client: CLIENT,
    requestId: '1f0c0a3e-7d0b-4c8f-9a61-3b5f5a6c0d02',
  });
  for (const [index, code] of confirmed.backupCodes.entries()) {
    secrets.set(`backup code ${index}`, code);
    secrets.set(`backup code ${index} without hyphens`, code.replaceAll('-', ''));
  }

  // Proofs that fail, with contents that must not stay anywhere.
  const person = { subject: SUBJECT, token: signedIn.token } as never;
  const opened = await openTransfer(client, person);
  secrets.set('wrong code', '918273');
  await answer(client, opened, signedIn.token, totp('918273'));
  secrets.set('password typed as a code', 'hunter2-correct-horse');
  await answer(client, opened, signedIn.token, totp('hunter2-correct-horse'));
  const proven = await answer(client, opened, signedIn.token, totp(second));
  if (proven.end !== 'approved') throw new Error(`not approved: ${proven.reason}`);
  secrets.set('receipt', proven.receipt);
  secrets.set('signature of the receipt', proven.receipt.split('.')[2] ?? '');
  await client.unary(challenge.redeemReceipt, {
    receipt: proven.receipt,
    subject: SUBJECT,
    sessionToken: signedIn.token,
    action: TRANSFER,
    requestId: '1f0c0a3e-7d0b-4c8f-9a61-3b5f5a6c0d03',
  });
  await client
    .unary(challenge.redeemReceipt, {
      receipt: proven.receipt,
      subject: SUBJECT,
      sessionToken: signedIn.token,
      action: TRANSFER,
    })
    .catch(errorInfo);
  await client
    .unary(challenge.redeemReceipt, { receipt: `${proven.receipt}x`, subject: SUBJECT, action: TRANSFER })
    .catch(errorInfo);

  // A step-up that rotates the token, a sign-in by backup code.
  const raising = await client.unary(challenge.openChallenge, {
    sessionToken: signedIn.token,
    purpose: ChallengePurpose.STEP_UP,
    client: CLIENT,
  });
  const raised = await answer(client, raising.challenge?.id ?? '', signedIn.token, totp(third));
  secrets.set('receipt of the step-up', raised.receipt);
  const updated = await client.unary(session.updateSession, {
    token: signedIn.token,
    receipt: raised.receipt,
    client: CLIENT,
    requestId: '1f0c0a3e-7d0b-4c8f-9a61-3b5f5a6c0d04',
  });
  secrets.set('rotated session token', updated.token);
  const login = await client.unary(challenge.openChallenge, { subject: SUBJECT, purpose: ChallengePurpose.LOGIN });
  const rescued = await answer(client, login.challenge?.id ?? '', '', backupCode(confirmed.backupCodes[0] ?? ''));
  secrets.set('receipt of the sign-in', rescued.receipt);
  const again = await client.unary(session.createSession, {
    subject: SUBJECT,
    receipt: rescued.receipt,
    client: CLIENT,
  });
  secrets.set('second session token', again.token);

  // Mistakes that carry secrets to where they do not belong.
  await client.unary(session.validateSession, { token: proven.receipt }).catch(errorInfo);
  await client.unary(challenge.getChallenge, { challengeId: opened, sessionToken: again.token }).catch(errorInfo);
  await sidecar
    .client({ 'x-sallyport-client': 'x', authorization: 'Bearer planted-bearer-e1d2' })
    .unary(session.validateSession, { token: again.token })
    .catch(errorInfo);
  secrets.set('wrong bearer token', 'planted-bearer-e1d2');
  for (const body of [
    `{"token":"${again.token}","unknown":"planted-json-9a8b"}`,
    `{"token":"${again.token}"`,
    `["${again.token}"]`,
  ])
    await connectCall(sidecar.httpUrl, `${SessionService.typeName}/ValidateSession`, body);
  secrets.set('content of bad JSON', 'planted-json-9a8b');
  await fetch(`${sidecar.httpUrl}/planted-path-77f0?token=${again.token}`, {
    headers: { cookie: 'planted-cookie-3c3c' },
  });
  secrets.set('content of a path', 'planted-path-77f0');
  secrets.set('cookie', 'planted-cookie-3c3c');
  await client.unary(session.revokeSession, { session: { case: 'token', value: again.token } });
  await client.unary(session.validateSession, { token: again.token }).catch(errorInfo);

  // Everything that can be read, while it runs and after it stopped.
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  sinks.set('/metrics', Buffer.from(await (await fetch(`${sidecar.adminUrl}/metrics`)).text()));
  for (const path of ['readyz', 'livez', 'startupz'])
    sinks.set(`/${path}`, Buffer.from(await (await fetch(`${sidecar.adminUrl}/${path}`)).text()));
  sinks.set('key set', Buffer.from(await (await fetch(`${sidecar.httpUrl}/.well-known/jwks.json`)).text()));
  sinks.set(
    'events',
    Buffer.from(
      toJsonString(
        QueryEventsResponseSchema,
        await operator.unary(AuditService.method.queryEvents, { pageSize: 1_000 }),
      ),
    ),
  );
  sinks.set('export', await exported(sidecar));
  // While it runs the write-ahead logs hold what the files do not have yet.
  for (const [name, bytes] of files(sidecar.dataDir)) sinks.set(`${name}, running`, bytes);
  await sidecar.stop();
  for (const [name, bytes] of files(sidecar.dataDir)) sinks.set(`${name}, stopped`, bytes);
  const exportArgs = [join(projectRoot, 'dist/main.mjs'), 'audit', 'export', '--data-dir', sidecar.dataDir];
  sinks.set('exported lines', execFileSync(process.execPath, exportArgs));
  sinks.set('stdout', Buffer.from(sidecar.stdout));
  sinks.set('stderr', Buffer.from(sidecar.stderr));
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
});

/** All files but the two whose content is the secret, and which only their owner may read. */
function* files(dataDir: string): Generator<readonly [string, Buffer]> {
  for (const entry of readdirSync(dataDir, { withFileTypes: true }))
    if (entry.isFile() && !['keys.json', 'operator.token'].includes(entry.name))
      yield [entry.name, readFileSync(join(dataDir, entry.name))];
}

function exported(from: Sidecar): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: string[] = [];
    const stream = from.operator().serverStream(AuditService.method.exportEvents, {});
    stream.on('data', (message: ExportEventsResponse) => {
      parts.push(toJsonString(ExportEventsResponseSchema, message));
      // Rows are bytes inside; what they hold has to be searched as it is.
      if (message.item.case === 'row') parts.push(Buffer.from(message.item.value.record).toString('latin1'));
    });
    stream.on('error', reject);
    stream.on('end', () => resolve(Buffer.from(parts.join('\n'), 'latin1')));
  });
}

function fromBase32(text: string): Buffer {
  let bits = '';
  for (const letter of text) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}

/** The sinks that hold it, in whatever form. */
const where = (secret: string | Buffer) =>
  [...sinks].filter((sink) => foundIn(new Map([sink]), secret).length > 0).map(([name]) => name);

describe('after a whole journey at log level debug', () => {
  it('has everything to search before it', () => {
    for (const name of [
      'state.db, stopped',
      'audit.db, stopped',
      'stderr',
      'events',
      'export',
      'exported lines',
      '/metrics',
    ])
      expect(sinks.get(name)?.length ?? 0, name).toBeGreaterThan(500);
    expect(secrets.size).toBeGreaterThan(35);
    for (const [name, secret] of secrets) expect(secret.length, name).toBeGreaterThanOrEqual(6);
    // The search finds what is there.
    expect(where(TRANSFER.action)).toContain('events');
    expect(where(SUBJECT)).toEqual(expect.arrayContaining(['events', 'state.db, stopped']));
    expect(sinks.get('events')?.toString()).toContain('challenge.approved');
    expect(sinks.get('stderr')?.toString()).toContain('AnswerChallenge');
  });

  it('keeps no token, code, seed or receipt anywhere: not in logs, metrics, databases, events or exports', () => {
    const found = [...secrets].flatMap(([name, secret]) => where(secret).map((sink) => `${name} in ${sink}`));
    expect(found).toEqual([]);
  });

  it('keeps people, addresses and agents out of logs and metrics, and out of the trail in the clear', () => {
    const found = [SUBJECT, CLIENT.ipAddress, 'PlantedAgent', 'secret-in-agent-4b2e', CLIENT.deviceId].flatMap(
      (personal) =>
        where(personal)
          .filter((sink) => /^(std|\/|audit\.db|export|exported lines|key set)/.test(sink))
          .map((sink) => `${personal} in ${sink}`),
    );
    expect(found).toEqual([]);
    // The state knows people by name, but not where they are.
    expect(where(CLIENT.ipAddress).filter((sink) => sink.startsWith('state.db'))).toEqual([]);
    expect(where('PlantedAgent').filter((sink) => sink.startsWith('state.db'))).toEqual([]);
  });

  it('logs one JSON object a line, with nothing in it that moves a terminal', () => {
    const lines = sidecar.stderr.split('\n').filter((line) => line.startsWith('{'));
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) expect(() => JSON.parse(line) as unknown, line).not.toThrow();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point.
    expect(lines.join('')).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
  });

  it('caps every fact and every text of an event', () => {
    const { events } = JSON.parse(sinks.get('events')?.toString() ?? '{}') as {
      events: { readonly facts?: readonly { readonly value?: string }[]; readonly userAgent?: string }[];
    };
    expect(events.length).toBeGreaterThan(15);
    for (const event of events) {
      for (const { value = '' } of event.facts ?? []) expect(Buffer.byteLength(value)).toBeLessThanOrEqual(512);
      expect(Buffer.byteLength(event.userAgent ?? '')).toBeLessThanOrEqual(1_024);
    }
  });
});
