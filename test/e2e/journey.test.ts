import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { ChallengeService, ChallengeState, type VerifyChallengeResponse } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, QrFormat } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { awaySteps, CONSENT, enrolledPerson, openTransfer, signIn, TRANSFER } from '../support/people.ts';
import { projectRoot, Sidecar } from '../support/sidecar.ts';
import { oathtoolCode } from '../support/totp-code.ts';

let sidecar: Sidecar;
let client: GrpcClient;

beforeAll(async () => {
  sidecar = await Sidecar.start();
  client = sidecar.client();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
});

const tool = (command: string, args: readonly string[], input?: string) =>
  execFileSync(command, args, { encoding: 'utf8', input, cwd: projectRoot, stdio: ['pipe', 'pipe', 'pipe'] });

describe('enrolment through the running server', () => {
  it('gives a QR code that zbarimg reads and whose secret oathtool agrees with', async () => {
    const { token } = await signIn(client, 'grace');
    const begun = await client.unary(FactorService.method.beginEnrollment, {
      subject: 'grace',
      method: Method.TOTP,
      sessionToken: token,
      consent: CONSENT,
      accountName: 'grace@example.com',
      qrFormats: [QrFormat.PNG, QrFormat.SVG, QrFormat.TERMINAL],
    });
    expect(begun.material.case).toBe('totp');
    if (begun.material.case !== 'totp') return;
    const { qrPng, qrSvg, qrTerminal, keyUri, manualKey } = begun.material.value;
    const png = join(mkdtempSync(join(tmpdir(), 'sallyport-qr-')), 'code.png');
    writeFileSync(png, qrPng);
    expect(tool('zbarimg', ['-q', '--raw', png]).trim()).toBe(keyUri);
    expect(qrSvg).toContain('<svg');
    expect(qrTerminal.split('\n').length).toBeGreaterThan(15);
    const secret = new URL(keyUri).searchParams.get('secret') ?? '';
    expect(manualKey.replaceAll(' ', '')).toBe(secret);
    await awaySteps();
    const confirmed = await client.unary(FactorService.method.confirmEnrollment, {
      subject: 'grace',
      factorId: begun.factor?.id ?? '',
      proof: { case: 'code', value: oathtoolCode(secret) },
    });
    expect(confirmed.backupCodes).toHaveLength(10);
  });
});

describe('the journey over one stream', () => {
  it('goes from start to a receipt that verifies offline and redeems once', async () => {
    const person = await enrolledPerson(client, 'ada');
    const stream = client.bidi(ChallengeService.method.verifyChallenge);
    const seen: VerifyChallengeResponse[] = [];
    const ended = new Promise<void>((resolve, reject) => {
      stream.on('data', (message: VerifyChallengeResponse) => {
        seen.push(message);
        if (message.event.case === 'challenge' && seen.length === 1) {
          stream.write({
            command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: { code: '000000' } } } } },
          });
        }
        if (message.event.case === 'refused') {
          stream.write({
            command: {
              case: 'answer',
              value: { proof: { kind: { case: 'totp', value: { code: person.nextCode() } } } },
            },
          });
        }
      });
      stream.on('end', resolve);
      stream.on('error', reject);
    });
    stream.write({
      command: {
        case: 'start',
        value: { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL },
      },
    });
    await ended;
    expect(seen.map((message) => message.event.case)).toEqual(['challenge', 'refused', 'finished']);
    const last = seen.at(-1)?.event;
    if (last?.case !== 'finished') throw new Error('not finished');
    expect(last.value.challenge?.state).toBe(ChallengeState.APPROVED);
    const receipt = last.value.receipt?.token ?? '';

    const jwks = createRemoteJWKSet(new URL(`${sidecar.httpUrl}/.well-known/jwks.json`));
    const { payload, protectedHeader } = await jwtVerify(receipt, jwks, {
      typ: 'sallyport-receipt+jwt',
      algorithms: ['EdDSA', 'Ed25519'],
    });
    expect(protectedHeader.typ).toBe('sallyport-receipt+jwt');
    expect(payload.sub).toBe('ada');
    expect(payload['sid']).toBe(person.sessionId);

    const redeem = { receipt, subject: 'ada', sessionToken: person.token, action: TRANSFER };
    const redeemed = await client.unary(ChallengeService.method.redeemReceipt, redeem);
    expect(redeemed.amr).toContain('otp');
    const again = await client.unary(ChallengeService.method.redeemReceipt, redeem).catch(errorInfo);
    expect(again).toMatchObject({ code: 9, reason: 'RECEIPT_REDEEMED' });
  });

  it('voids the receipt when another action is executed than the one approved', async () => {
    const person = await enrolledPerson(client, 'mallory');
    const challengeId = await openTransfer(client, person);
    const answered = await client.unary(ChallengeService.method.answerChallenge, {
      challengeId,
      sessionToken: person.token,
      step: { case: 'proof', value: { kind: { case: 'totp', value: { code: person.nextCode() } } } },
    });
    if (answered.result.case !== 'finished') throw new Error('not finished');
    const receipt = answered.result.value.receipt?.token ?? '';
    const other = { ...TRANSFER, details: { ...TRANSFER.details, amount: '9000 EUR' } };
    const base = { receipt, subject: 'mallory', sessionToken: person.token };
    expect(
      await client.unary(ChallengeService.method.redeemReceipt, { ...base, action: other }).catch(errorInfo),
    ).toMatchObject({
      code: 7,
      reason: 'RECEIPT_MISMATCH',
    });
    const after = await client
      .unary(ChallengeService.method.redeemReceipt, { ...base, action: TRANSFER })
      .catch(errorInfo);
    expect(after).toMatchObject({ code: 9 });
  });
});

describe('foreign clients', () => {
  it('shows every service to grpcurl through reflection and calls one', () => {
    const grpcurl = (...args: string[]) => tool('grpcurl', ['-plaintext', '-H', 'x-sallyport-client: test', ...args]);
    const services = grpcurl(sidecar.grpcAddress, 'list').trim().split('\n');
    expect(services).toEqual(
      expect.arrayContaining([
        'sallyport.v1.ChallengeService',
        'sallyport.v1.FactorService',
        'sallyport.v1.SessionService',
        'sallyport.v1.AuditService',
        'sallyport.v1.PrivacyService',
        'sallyport.v1.AdminService',
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
      ]),
    );
    expect(grpcurl(sidecar.grpcAddress, 'describe', 'sallyport.v1.ChallengeService.VerifyChallenge')).toContain(
      'stream',
    );
    const created = JSON.parse(
      grpcurl('-d', '{"subject":"linus"}', sidecar.grpcAddress, 'sallyport.v1.SessionService/CreateSession'),
    ) as { token: string };
    expect(created.token).toMatch(/^sps_[0-9A-Za-z]{49}$/);
    expect(grpcurl('-d', '{}', sidecar.grpcAddress, 'grpc.health.v1.Health/Check')).toContain('SERVING');
  });

  it('runs the bidirectional stream through grpcurl', async () => {
    const person = await enrolledPerson(client, 'barbara');
    const messages = [
      { start: { session_token: person.token, sensitivity: 'SENSITIVITY_CRITICAL', action: TRANSFER } },
      { answer: { proof: { totp: { code: person.nextCode() } } } },
    ];
    const output = tool(
      'grpcurl',
      [
        '-plaintext',
        '-H',
        'x-sallyport-client: test',
        '-d',
        '@',
        sidecar.grpcAddress,
        'sallyport.v1.ChallengeService/VerifyChallenge',
      ],
      messages.map((message) => JSON.stringify(message)).join('\n'),
    );
    expect(output).toContain('CHALLENGE_STATE_APPROVED');
    expect(output).toContain('"receipt"');
  });

  it('answers buf curl with the error details', () => {
    const buf = (body: string, method: string) =>
      tool('node_modules/.bin/buf', [
        'curl',
        '--protocol',
        'grpc',
        '--http2-prior-knowledge',
        '--header',
        'x-sallyport-client: test',
        '--data',
        body,
        `http://${sidecar.grpcAddress}/sallyport.v1.SessionService/${method}`,
      ]);
    expect(buf('{"subject":"ken"}', 'CreateSession')).toContain('"token"');
    let failure = '';
    try {
      buf('{"token":"sps_nonsense"}', 'ValidateSession');
    } catch (error) {
      failure = String((error as { stderr?: string }).stderr);
    }
    const shown = JSON.parse(failure) as { code: string; details: { type: string; value: string }[] };
    expect(shown.code).toBe('unauthenticated');
    expect(shown.details.map(({ type }) => type)).toEqual(['google.rpc.ErrorInfo']);
    const info = fromBinary(ErrorInfoSchema, Buffer.from(shown.details[0]?.value ?? '', 'base64'));
    expect(info).toMatchObject({ reason: 'SESSION_INVALID', domain: 'sallyport' });
  });

  it('speaks JSON over HTTP/1.1 with plain curl, errors included', () => {
    const curl = (path: string, body: unknown) =>
      JSON.parse(
        tool('curl', [
          '-sS',
          '--http1.1',
          '-H',
          'content-type: application/json',
          '-H',
          'x-sallyport-client: test',
          '-d',
          JSON.stringify(body),
          `${sidecar.httpUrl}/sallyport.v1.${path}`,
        ]),
      ) as Record<string, unknown>;
    const created = curl('SessionService/CreateSession', { subject: 'donald' });
    expect(curl('SessionService/ValidateSession', { token: created['token'] })).toMatchObject({
      session: { subject: 'donald' },
    });
    expect(curl('SessionService/ValidateSession', { token: 'x' })).toMatchObject({
      code: 'unauthenticated',
      details: [{ type: 'google.rpc.ErrorInfo' }],
    });
  });
});

describe('calls of later releases', () => {
  it('answer UNIMPLEMENTED and say so', async () => {
    const later = await sidecar
      .operator()
      .unary(SessionService.method.getSession, { sessionId: 'ses_00000000000000000000000000' })
      .catch(errorInfo);
    expect(later).toMatchObject({ code: 5, reason: 'SESSION_NOT_FOUND' });
    const link = await client.unary(AdminService.method.createPortalLink, { sessionToken: 'x' }).catch(errorInfo);
    expect(link).toMatchObject({ code: 12, reason: 'NOT_IMPLEMENTED' });
  });
});
