import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isSignedBy } from '#src/adapters/notices/webhook-signature.ts';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import {
  ApprovalReason,
  ChallengePurpose,
  ChallengeService,
  ChallengeState,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from '../support/eventually.ts';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { CONSENT, enrolledPerson, type Person, signIn, TRANSFER } from '../support/people.ts';
import { Sidecar } from '../support/sidecar.ts';
import { answer, totp } from '../support/step-up.ts';
import { oathtoolCode } from '../support/totp-code.ts';
import { WebhookReceiver } from '../support/webhook-receiver.ts';

const KEY = 'a key for notices that two know';

let receiver: WebhookReceiver;
let sidecar: Sidecar;
let client: GrpcClient;

beforeAll(async () => {
  receiver = await WebhookReceiver.listen();
  sidecar = await Sidecar.start({
    env: {
      SALLYPORT_NOTICES_CHANNEL: 'webhook',
      SALLYPORT_NOTICES_WEBHOOK_URL: receiver.url,
      SALLYPORT_NOTICES_WEBHOOK_SECRET: KEY,
    },
  });
  client = sidecar.client();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

const login = (subject: string, trustedDeviceToken = '', sensitivity = Sensitivity.UNSPECIFIED) =>
  client.unary(ChallengeService.method.openChallenge, {
    subject,
    purpose: ChallengePurpose.LOGIN,
    sensitivity,
    action: { resource: 'login', action: 'sign_in' },
    trustedDeviceToken,
  });

/** Signs in with a proof and has the device remembered; its token. */
async function remembered(person: Person): Promise<string> {
  const { challenge } = await login(person.subject);
  const { receipt } = await answer(client, challenge?.id ?? '', '', totp(person.nextCode()));
  const created = await client.unary(SessionService.method.createSession, {
    subject: person.subject,
    receipt,
    rememberDevice: true,
    deviceName: 'Kitchen',
  });
  expect(created.trustedDeviceToken).toMatch(/^spd_[0-9A-Za-z]{49}$/);
  return created.trustedDeviceToken;
}

const noticesTo = (subject: string) =>
  receiver.calls
    .map(({ body }) => JSON.parse(body) as { readonly subject: string; readonly type: string })
    .filter((notice) => notice.subject === subject)
    .map(({ type }) => type);

describe('a trusted device through the running server', () => {
  it('makes the second step needless at login, token by token, and nowhere else', async () => {
    const person = await enrolledPerson(client, 'ada');
    const first = await remembered(person);
    const trusted = await login('ada', first);
    expect(trusted.challenge).toMatchObject({
      state: ChallengeState.APPROVED,
      approvalReason: ApprovalReason.TRUSTED_DEVICE,
    });
    expect(trusted.trustedDeviceToken).toMatch(/^spd_/);
    expect(trusted.trustedDeviceToken).not.toBe(first);
    const second = trusted.trustedDeviceToken;

    const again = await client.unary(SessionService.method.createSession, {
      subject: 'ada',
      receipt: trusted.receipt?.token ?? '',
      rememberDevice: true,
    });
    expect(again.trustedDeviceToken).toBe('');
    expect(again.session?.acr).toBe('aal1');

    for (const refused of [
      await login('ada', second, Sensitivity.CRITICAL),
      await login('ada', `${second.slice(0, -1)}${second.endsWith('x') ? 'y' : 'x'}`),
      await client.unary(ChallengeService.method.openChallenge, {
        sessionToken: again.token,
        purpose: ChallengePurpose.ACTION,
        action: TRANSFER,
        sensitivity: Sensitivity.CRITICAL,
        trustedDeviceToken: second,
      }),
      await client.unary(ChallengeService.method.openChallenge, {
        sessionToken: again.token,
        purpose: ChallengePurpose.FACTOR_CHANGE,
        action: { resource: 'factors/backup_code', action: 'factor.regenerate' },
        trustedDeviceToken: second,
      }),
    ]) {
      expect(refused.challenge?.state).toBe(ChallengeState.PENDING);
      expect(refused.trustedDeviceToken).toBe('');
    }
    expect((await login('ada', second)).challenge?.state).toBe(ChallengeState.APPROVED);

    const bob = await enrolledPerson(client, 'bob');
    expect((await login(bob.subject, second)).challenge?.state).toBe(ChallengeState.PENDING);
  });

  it('is listed, named and forgotten, one or all, and never by leaving something out', async () => {
    const person = await enrolledPerson(client, 'cyd');
    const token = await remembered(person);
    const listed = await client.unary(FactorService.method.listTrustedDevices, { subject: 'cyd' });
    expect(listed.devices).toMatchObject([{ displayName: 'Kitchen' }]);
    const deviceId = listed.devices[0]?.id ?? '';
    const { device } = await client.unary(FactorService.method.renameTrustedDevice, {
      subject: 'cyd',
      deviceId,
      displayName: 'Old laptop',
    });
    expect(device?.displayName).toBe('Old laptop');
    for (const odd of [{}, { all: true, deviceId }, { deviceId: 'dev_x' }]) {
      const refused = client.unary(FactorService.method.revokeTrustedDevice, { subject: 'cyd', ...odd });
      expect(await refused.catch(errorInfo)).toMatchObject({ reason: 'FIELD_INVALID' });
    }
    const stranger = await client.unary(FactorService.method.revokeTrustedDevice, { subject: 'ada', deviceId });
    expect(stranger.revoked).toBe(0);
    const gone = await client.unary(FactorService.method.revokeTrustedDevice, { subject: 'cyd', all: true });
    expect(gone.revoked).toBe(1);
    expect((await login('cyd', token)).challenge?.state).toBe(ChallengeState.PENDING);
  });

  it('is in no log, and the person is told of it by a signed notice', async () => {
    const person = await enrolledPerson(client, 'dan');
    const token = await remembered(person);
    await eventually('the notices', () => noticesTo('dan').length === 2, 15_000);
    expect(noticesTo('dan').toSorted()).toEqual(['device.trusted', 'factor.enrolled']);
    for (const { body, signature } of receiver.calls) {
      expect(isSignedBy(KEY, signature, body, Date.now() / 1_000)).toBe(true);
      expect(isSignedBy('another', signature, body, Date.now() / 1_000)).toBe(false);
    }
    const everything = `${sidecar.stdout}${sidecar.stderr}${JSON.stringify(receiver.calls)}`;
    expect(everything).not.toContain(token.slice(4, 30));
    expect(everything).not.toContain(KEY);
  });
});

describe('a reset through the running server', () => {
  it('takes everything away, and the pass alone lets the person begin again', async () => {
    const person = await enrolledPerson(client, 'eve');
    const device = await remembered(person);
    const operator = sidecar.operator();
    const request = { subject: 'eve', reason: 'lost phone', requestId: '6a0cf4f5-17c5-4d59-8f2f-0c2f6d0e7d11' };
    const byApplication = client.unary(AdminService.method.resetSubject, request).catch(errorInfo);
    expect(await byApplication).toMatchObject({ reason: 'ROLE_MISSING' });
    const { temporaryPass } = await operator.unary(AdminService.method.resetSubject, request);
    expect(temporaryPass).toMatch(/^[0-9a-z]{4}(-[0-9a-z]{4}){3}$/);
    const repeated = await operator.unary(AdminService.method.resetSubject, request);
    expect(repeated.temporaryPass).toBe(temporaryPass);

    const dead = client.unary(SessionService.method.validateSession, { token: person.token }).catch(errorInfo);
    expect(await dead).toMatchObject({ reason: 'SESSION_INVALID' });
    expect((await client.unary(FactorService.method.listTrustedDevices, { subject: 'eve' })).devices).toEqual([]);
    expect((await client.unary(FactorService.method.listFactors, { subject: 'eve' })).factors).toEqual([]);
    const open = await login('eve', device).catch(errorInfo);
    expect(open).toMatchObject({ reason: 'MFA_NOT_ENROLLED' });

    const { token } = await signIn(client, 'eve');
    const begin = (pass: string) =>
      client.unary(FactorService.method.beginEnrollment, {
        subject: 'eve',
        method: 1,
        sessionToken: token,
        consent: CONSENT,
        temporaryPass: pass,
      });
    expect(await begin('').catch(errorInfo)).toMatchObject({ reason: 'PASS_REQUIRED' });
    expect(await begin('0000-0000-0000-0000').catch(errorInfo)).toMatchObject({ reason: 'PROOF_REFUSED' });
    const begun = await begin(temporaryPass.toUpperCase());
    if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
    const key = begun.material.value.manualKey.replaceAll(' ', '');
    await client.unary(FactorService.method.confirmEnrollment, {
      subject: 'eve',
      factorId: begun.factor?.id ?? '',
      proof: { case: 'code', value: oathtoolCode(key) },
    });
    await eventually('the notice', () => noticesTo('eve').includes('subject.reset'), 15_000);
    const { events } = await operator.unary(AuditService.method.queryEvents, {
      filter: { subject: 'eve', types: ['subject.reset'] },
    });
    expect(events).toMatchObject([{ facts: [{ key: 'note', value: 'lost phone' }] }]);
    expect(`${sidecar.stdout}${sidecar.stderr}${JSON.stringify(receiver.calls)}`).not.toContain(temporaryPass);
  });
});
