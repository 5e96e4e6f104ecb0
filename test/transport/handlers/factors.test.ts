import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '#src/adapters/system.ts';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import {
  BeginEnrollmentRequestSchema,
  ConfirmEnrollmentRequestSchema,
  ConsentGrantSchema,
  FactorState,
  GetMfaStatusRequestSchema,
  ListFactorsRequestSchema,
  QrFormat,
  RegenerateBackupCodesRequestSchema,
  RemoveFactorRequestSchema,
} from '#src/gen/sallyport/v1/factor_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { factorHandlers } from '#src/transport/handlers/factors.ts';
import { QrRenderer } from '#src/transport/qr.ts';
import { APP, FactorWorld, REALM } from '../../support/factor-world.ts';
import { modulesOfSvg, modulesOfTerminal, pictureOf, readQr } from '../../support/qr-reader.ts';
import { oathtoolCode } from '../../support/totp-code.ts';

// A thread takes long to start where there is much else to do.
const qr = new QrRenderer({ clock: systemClock, timeoutMs: 15_000 });
afterAll(() => qr.close());

const call: CallContext = {
  caller: APP,
  protocol: 'grpc',
  procedure: '/sallyport.v1.FactorService/Test',
  signal: new AbortController().signal,
  ended: undefined,
  remainingMs: () => Number.POSITIVE_INFINITY,
};

function served(renderer: Pick<QrRenderer, 'render'> = qr) {
  const world = new FactorWorld();
  const realms = { names: new Set([REALM]), defaultRealm: REALM };
  const handlers = factorHandlers({ factors: world.services, qr: renderer, realms, log: world.log });
  const begin = async (over: MessageInitShape<typeof BeginEnrollmentRequestSchema> = {}) => {
    const request = create(BeginEnrollmentRequestSchema, {
      subject: 'ada',
      method: Method.TOTP,
      sessionToken: world.signIn('ada'),
      consent: create(ConsentGrantSchema, { textVersion: '2026-11', language: 'en' }),
      ...over,
    });
    const begun = await handlers.beginEnrollment(request, call);
    if (begun.material?.case !== 'totp') throw new Error('expected TOTP material');
    return { factorId: begun.factor?.id ?? '', begun, totp: begun.material.value };
  };
  const confirm = async (factorId: string, code: string) =>
    handlers.confirmEnrollment(
      create(ConfirmEnrollmentRequestSchema, { subject: 'ada', factorId, proof: { case: 'code', value: code } }),
      call,
    );
  return { world, handlers, begin, confirm };
}

describe('the factor RPCs', () => {
  it('enrol by a QR code that an independent reader reads and a code that an independent generator makes', async () => {
    const { world, begin, confirm } = served();
    const formats = [QrFormat.TERMINAL, QrFormat.PNG, QrFormat.SVG, QrFormat.PNG, QrFormat.UNSPECIFIED];
    const { factorId, begun, totp } = await begin({ qrFormats: formats, accountName: 'ada@example.com' });
    expect(begun.factor?.state).toBe(FactorState.PENDING);
    const { keyUri = '' } = totp;
    expect(readQr(totp.qrPng ?? new Uint8Array(), 'png')).toBe(keyUri);
    expect(readQr(pictureOf(modulesOfSvg(totp.qrSvg ?? '')), 'pbm')).toBe(keyUri);
    expect(readQr(pictureOf(modulesOfTerminal(totp.qrTerminal ?? '')), 'pbm')).toBe(keyUri);
    const secret = new URL(keyUri).searchParams.get('secret') ?? '';
    expect(totp.manualKey?.replaceAll(' ', '')).toBe(secret);
    const confirmed = await confirm(factorId, oathtoolCode(secret, 0, world.clock.now()));
    expect(confirmed.factor).toMatchObject({ id: factorId, state: FactorState.ACTIVE, method: Method.TOTP });
    expect(confirmed.backupCodes).toHaveLength(10);
  });

  it('draw nothing that was not asked for', async () => {
    const { totp } = await served().begin();
    expect(Object.keys(totp).sort()).toEqual(['keyUri', 'manualKey']);
  });

  it('answer URI and key also when no picture can be drawn, since the enrolment has begun by then', async () => {
    const broken = { render: () => Promise.reject(new Error('no thread')) };
    const { world, begin } = served(broken);
    const { totp } = await begin({ qrFormats: [QrFormat.PNG] });
    expect(totp.keyUri).toMatch(/^otpauth:/);
    expect(world.log.lines).toEqual([expect.stringMatching(/^warn a QR code was left out/)]);
  });

  it('list, remove and renew, and tell the status', async () => {
    const { world, handlers, begin, confirm } = served();
    const { factorId, totp } = await begin({ displayName: 'Phone' });
    await confirm(factorId, world.code(totp.manualKey ?? ''));
    const person = { subject: 'ada' };
    const listed = await handlers.listFactors(create(ListFactorsRequestSchema, person), call);
    expect(listed.factors).toMatchObject([
      { id: factorId, method: Method.TOTP, displayName: 'Phone', state: FactorState.ACTIVE },
      { method: Method.BACKUP_CODE, codesLeft: 10 },
    ]);
    const receipt = world.receiptFor('ada', { kind: 'regenerate' });
    const renewed = await handlers.regenerateBackupCodes(
      create(RegenerateBackupCodesRequestSchema, { ...person, receipt }),
      call,
    );
    expect(renewed.backupCodes).toHaveLength(10);
    expect(renewed.factor?.method).toBe(Method.BACKUP_CODE);
    const status = await handlers.getMfaStatus(create(GetMfaStatusRequestSchema, person), call);
    expect(status).toMatchObject({
      mfaEnabled: true,
      enrolled: true,
      usableMethods: [Method.TOTP, Method.BACKUP_CODE],
      availableMethods: [Method.TOTP],
      backupCodesLeft: 10,
    });
    const last = handlers.removeFactor(
      create(RemoveFactorRequestSchema, {
        ...person,
        factorId,
        receipt: world.receiptFor('ada', { kind: 'remove', factorId }),
      }),
      call,
    );
    await expect(last).rejects.toMatchObject({ reason: 'LAST_FACTOR' });
  });

  it('refuse a realm that is not served, an enrolment that is not there, and no proof at all', async () => {
    const { handlers, begin } = served();
    await expect(begin({ realm: 'bank' })).rejects.toMatchObject({ reason: 'REALM_UNKNOWN' });
    const push = create(ConfirmEnrollmentRequestSchema, {
      subject: 'ada',
      factorId: 'fac_x',
      proof: { case: 'pushSignature', value: new Uint8Array(8) },
    });
    await expect(handlers.confirmEnrollment(push, call)).rejects.toMatchObject({ reason: 'FACTOR_NOT_FOUND' });
    const none = create(ConfirmEnrollmentRequestSchema, { subject: 'ada', factorId: 'fac_x' });
    await expect(handlers.confirmEnrollment(none, call)).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
  });
});
