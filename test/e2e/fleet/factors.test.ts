import { decodeJwt } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import {
  ApprovalReason,
  ChallengePurpose,
  ChallengeService,
  ChallengeState,
  DeliveryStatus,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { ChallengeWatch } from '../../support/challenge-watch.ts';
import { eventually } from '../../support/eventually.ts';
import {
  anotherNumber,
  answerOnBrowser,
  choose,
  enrolBrowser,
  enrolNumber,
  type KeyHolder,
  keyHolder,
  permission,
} from '../../support/factor-holder.ts';
import { FactorSite } from '../../support/factor-site.ts';
import { type Fleet, startFleet } from '../../support/fleet.ts';
import { centralEvents, whenFlushed } from '../../support/fleet-trail.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { awaySteps, CONSENT, signIn, TRANSFER } from '../../support/people.ts';
import { answer, backupCode } from '../../support/step-up.ts';
import { oathtoolCode } from '../../support/totp-code.ts';
import { answerWith, optionsOf, proveBy } from '../../support/webauthn-calls.ts';

/** Two sidecars over a real Redis and PostgreSQL: every life below is begun at A and goes on at B. */
let site: FactorSite;
let fleet: Fleet;
let a: GrpcClient;
let b: GrpcClient;

beforeAll(async () => {
  site = await FactorSite.start(2);
  fleet = await startFleet({
    sidecars: 2,
    settings: { ...UNHURRIED, ...site.settings, SALLYPORT_TRUSTED_DEVICES_GRACE: '0s' },
    settingsOf: (index) => site.settingsOf(index),
  });
  [a, b] = [fleet.client(0), fleet.client(1)];
});
afterEach(() => {
  expect(site.twilio.complaints.splice(0)).toEqual([]);
  expect(site.push.refusals.splice(0)).toEqual([]);
});
afterAll(async () => {
  await fleet[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

async function open(client: GrpcClient, sessionToken: string, sensitivity = Sensitivity.SENSITIVE): Promise<string> {
  const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
    sessionToken,
    action: TRANSFER,
    sensitivity,
  });
  return challenge?.id ?? '';
}

const login = (client: GrpcClient, subject: string, trustedDeviceToken = '') =>
  client.unary(ChallengeService.method.openChallenge, {
    subject,
    purpose: ChallengePurpose.LOGIN,
    action: { resource: 'login', action: 'sign_in' },
    trustedDeviceToken,
  });

type Kind = { case: 'totp' | 'sms'; value: { code: string } };

async function answerBy(client: GrpcClient, sessionToken: string, challengeId: string, kind: Kind) {
  const { result } = await client.unary(ChallengeService.method.answerChallenge, {
    challengeId,
    sessionToken,
    step: { case: 'proof', value: { kind } },
  });
  return result;
}

/** Removed at B. */
const remove = async (who: KeyHolder, factorId: string) =>
  b.unary(FactorService.method.removeFactor, {
    subject: who.subject,
    factorId,
    receipt: await permission(b, who, 'factor.remove', factorId),
  });

const reasonOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: unknown) => errorInfo(error).reason,
  );

/** What A is told about the end, with a receipt that is good there. */
async function approvedFor(watch: ChallengeWatch, { subject }: { readonly subject: string }, method: Method) {
  const { challenge, receipt } = await watch.ended();
  expect(challenge).toMatchObject({ state: ChallengeState.APPROVED, provenMethod: method });
  expect(decodeJwt(receipt?.token ?? '')).toMatchObject({ sub: subject, acr: 'aal2' });
}

describe('a factor that is enrolled at A and confirmed at B', () => {
  it('proves by TOTP at B what was opened at A, A is told, and what B removed A refuses', async () => {
    const who = await keyHolder('totp-tia', a, b);
    const begun = await a.unary(FactorService.method.beginEnrollment, {
      subject: who.subject,
      method: Method.TOTP,
      receipt: await permission(a, who, 'factor.enroll', 'totp'),
      consent: CONSENT,
    });
    if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
    const factorId = begun.factor?.id ?? '';
    await awaySteps();
    const now = Date.now();
    const { manualKey } = begun.material.value;
    const [first, second, third] = [-1, 0, 1].map((steps) => oathtoolCode(manualKey, steps, now));
    const proof = { case: 'code', value: first ?? '' } as const;
    await b.unary(FactorService.method.confirmEnrollment, { subject: who.subject, factorId, proof });

    const challengeId = await open(a, who.token, Sensitivity.CRITICAL);
    using watch = new ChallengeWatch(a, challengeId, who.token);
    const kind = { case: 'totp', value: { code: second ?? '' } } as const;
    expect((await answerBy(b, who.token, challengeId, kind)).case).toBe('finished');
    await approvedFor(watch, who, Method.TOTP);

    const late = await open(a, who.token, Sensitivity.CRITICAL);
    await remove(who, factorId);
    const unused = { case: 'totp', value: { code: third ?? '' } } as const;
    const told = await answerBy(a, who.token, late, unused).catch(errorInfo);
    expect('case' in told ? told.case : told.reason).toMatch(/^(?:refused|METHOD_NOT_OFFERED)$/);
    const after = answerBy(a, who.token, await open(a, who.token, Sensitivity.CRITICAL), unused);
    expect(await reasonOf(after)).toBe('METHOD_NOT_OFFERED');
  });

  it('proves by SMS: A sends, Twilio reports to B, A is told of both, B takes the code, and A sends nothing once B removed it', async () => {
    const who = await keyHolder('sms-sol', a, b);
    const { number, factorId } = await enrolNumber(site, who, a, b);
    const messages = () => site.twilio.messages.filter(({ to }) => to === number);
    const challengeId = await open(a, who.token);
    using watch = new ChallengeWatch(a, challengeId, who.token);
    await choose(a, who.token, challengeId, Method.SMS);
    await watch.told('sent', ({ delivery }) => delivery?.status === DeliveryStatus.SENT);
    const sid = messages().at(-1)?.sid ?? '';
    expect(await site.twilio.report(sid, 'delivered', { reach: site.reach(1) })).toBe(204);
    await watch.told('delivered', ({ delivery }) => delivery?.status === DeliveryStatus.DELIVERED, 2_000);
    const kind = { case: 'sms', value: { code: site.twilio.codeTo(number) } } as const;
    expect((await answerBy(b, who.token, challengeId, kind)).case).toBe('finished');
    await approvedFor(watch, who, Method.SMS);

    const late = await open(a, who.token);
    await remove(who, factorId);
    const sent = messages().length;
    expect(await reasonOf(choose(a, who.token, late, Method.SMS))).toMatch(/^(?:METHOD_NOT_OFFERED|FACTOR_\w+)$/);
    const after = await open(a, who.token);
    expect(await reasonOf(choose(a, who.token, after, Method.SMS))).toBe('METHOD_NOT_OFFERED');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(messages()).toHaveLength(sent);
  });

  it('proves by push: A notifies, the browser answers B, A is told, and A notifies nobody once B removed it', async () => {
    const who = await keyHolder('push-pia', a, b);
    const browser = await enrolBrowser(site, who, a, b);
    const challengeId = await open(a, who.token, Sensitivity.CRITICAL);
    using watch = new ChallengeWatch(a, challengeId, who.token);
    const { number } = await choose(a, who.token, challengeId, Method.PUSH);
    await watch.told('sent', ({ delivery }) => delivery?.status === DeliveryStatus.SENT);
    expect(await answerOnBrowser(site, 1, browser, challengeId, 'approve', number)).toBe('approved');
    await approvedFor(watch, who, Method.PUSH);

    const late = await open(a, who.token, Sensitivity.CRITICAL);
    await remove(who, browser.factorId);
    const { requests } = site.push;
    expect(await reasonOf(choose(a, who.token, late, Method.PUSH))).toMatch(/^(?:METHOD_NOT_OFFERED|FACTOR_\w+)$/);
    const after = await open(a, who.token, Sensitivity.CRITICAL);
    expect(await reasonOf(choose(a, who.token, after, Method.PUSH))).toBe('METHOD_NOT_OFFERED');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(site.push.requests).toBe(requests);
  });

  it('proves by WebAuthn: prompted at A, answered at B, A is told, and a prompt that A gave before B removed the key is worth nothing', async () => {
    const who = await keyHolder('key-kim', a, b);
    // What is left when the key is gone; a number would not do.
    await enrolBrowser(site, who, a, b);
    const challengeId = await open(a, who.token, Sensitivity.CRITICAL);
    using watch = new ChallengeWatch(a, challengeId, who.token);
    const assertion = who.key.assert(await optionsOf(a, who, challengeId));
    expect((await answerWith(b, who, challengeId, assertion)).result.case).toBe('finished');
    await approvedFor(watch, who, Method.WEBAUTHN);

    const late = await open(a, who.token, Sensitivity.CRITICAL);
    const prepared = who.key.assert(await optionsOf(a, who, late));
    await remove(who, who.keyFactorId);
    const told = await answerWith(a, who, late, prepared).catch(errorInfo);
    expect('result' in told ? told.result.case : told.reason).toMatch(/^(?:refused|METHOD_NOT_OFFERED)$/);
    expect(await reasonOf(proveBy(a, who, who.key))).not.toBe('no error');
  });
});

describe('a backup code', () => {
  it('is spent once of thirty uses at once over both', async () => {
    const who = await keyHolder('codes-cam', a, b);
    const [code = ''] = who.backupCodes;
    const ids = await Promise.all(
      [a, b, a].map(async (client) => (await login(client, who.subject)).challenge?.id ?? ''),
    );
    const told = await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        answer(index % 2 ? a : b, ids[index % ids.length] ?? '', '', backupCode(code)),
      ),
    );
    const read = (challengeId: string) => a.unary(ChallengeService.method.getChallenge, { challengeId });
    const states = (await Promise.all(ids.map(read))).map(({ challenge }) => challenge?.state);
    expect(states.filter((state) => state === ChallengeState.APPROVED)).toHaveLength(1);
    const receipts = new Set(told.map(({ receipt }) => receipt).filter((receipt) => receipt !== ''));
    expect(receipts.size).toBe(1);
    const { backupCodesLeft } = await b.unary(FactorService.method.getMfaStatus, { subject: who.subject });
    expect(backupCodesLeft).toBe(9);
    await whenFlushed(fleet);
    const events = await centralEvents(fleet.postgres);
    const used = events.filter((event) => event.type === 'backup_code.used' && ids.includes(event.challengeId));
    expect(used).toHaveLength(1);
  });

  it('is dead at A once B made a new set, whose codes A takes', async () => {
    const who = await keyHolder('codes-cyd', a, b);
    const receipt = await proveBy(b, who, who.key, {
      action: 'factor.regenerate',
      resource: 'factors/backup_code',
    });
    const renewed = await b.unary(FactorService.method.regenerateBackupCodes, { subject: who.subject, receipt });
    const challengeId = (await login(a, who.subject)).challenge?.id ?? '';
    expect((await answer(a, challengeId, '', backupCode(who.backupCodes[0] ?? ''))).end).toBe('refused');
    expect((await answer(a, challengeId, '', backupCode(renewed.backupCodes[0] ?? ''))).end).toBe('approved');
  });
});

/** Signs in by the key at one sidecar and has the device remembered there; its token. */
async function remembered(client: GrpcClient, who: KeyHolder): Promise<string> {
  const challengeId = (await login(client, who.subject)).challenge?.id ?? '';
  const nobody = { subject: who.subject, token: '' };
  const assertion = who.key.assert(await optionsOf(client, nobody, challengeId));
  const { result } = await answerWith(client, nobody, challengeId, assertion);
  if (result.case !== 'finished') throw new Error(`not approved: ${result.case}`);
  const created = await client.unary(SessionService.method.createSession, {
    subject: who.subject,
    receipt: result.value.receipt?.token ?? '',
    rememberDevice: true,
  });
  return created.trustedDeviceToken;
}

describe('a trusted device', () => {
  it('is remembered at A, used and rotated at B; the old token at A kills both and raises the alarm', async () => {
    const who = await keyHolder('device-dee', a, b);
    const first = await remembered(a, who);
    const used = await login(b, who.subject, first);
    expect(used.challenge).toMatchObject({
      state: ChallengeState.APPROVED,
      approvalReason: ApprovalReason.TRUSTED_DEVICE,
    });
    const second = used.trustedDeviceToken;
    expect(second).toMatch(/^spd_/);
    expect((await login(a, who.subject, first)).challenge?.state).toBe(ChallengeState.PENDING);
    for (const client of [a, b])
      for (const token of [second, first])
        expect((await login(client, who.subject, token)).challenge?.state).toBe(ChallengeState.PENDING);
    expect((await b.unary(FactorService.method.listTrustedDevices, { subject: who.subject })).devices).toEqual([]);
    await expect
      .poll(() => site.webhook.calls.filter(({ body }) => body.includes(who.subject)).map(typeOf), { timeout: 45_000 })
      .toContain('device.token_reused');
  });

  it('of ten uses of one token at once over both is trusted once; the rest are copies, and the device is dead', async () => {
    const who = await keyHolder('device-dot', a, b);
    const token = await remembered(a, who);
    const told = await Promise.all(
      Array.from({ length: 10 }, (_, index) => login(index % 2 ? a : b, who.subject, token)),
    );
    expect(told.filter(({ challenge }) => challenge?.state === ChallengeState.APPROVED)).toHaveLength(1);
    const next = told.map(({ trustedDeviceToken }) => trustedDeviceToken).find((one) => one !== '') ?? '';
    expect((await login(b, who.subject, next)).challenge?.state).toBe(ChallengeState.PENDING);
  });
});

const typeOf = ({ body }: { readonly body: string }) => (JSON.parse(body) as { readonly type: string }).type;

describe('a recovery', () => {
  it('by an operator at A ends everything at B, where the pass is needed once to begin again', async () => {
    const who = await keyHolder('lost-lea', a, b);
    await enrolNumber(site, who, a, b);
    const device = await remembered(b, who);
    const pending = await open(b, who.token);
    const { temporaryPass } = await fleet
      .operator(0)
      .unary(AdminService.method.resetSubject, { subject: who.subject, reason: 'lost everything' });

    const validate = () => reasonOf(b.unary(SessionService.method.validateSession, { token: who.token }));
    // B has it in memory, and has heard of the end within 2 s at most (docs/shared-state.md).
    await eventually('B refuses the session', async () => (await validate()) !== 'no error', 2_000);
    expect(await validate()).toBe('SESSION_INVALID');
    expect((await b.unary(FactorService.method.listFactors, { subject: who.subject })).factors).toEqual([]);
    expect((await b.unary(FactorService.method.listTrustedDevices, { subject: who.subject })).devices).toEqual([]);
    expect(await reasonOf(login(b, who.subject, device))).toBe('MFA_NOT_ENROLLED');
    expect(await reasonOf(choose(b, who.token, pending, Method.SMS))).not.toBe('no error');

    const { token } = await signIn(b, who.subject);
    const begin = (client: GrpcClient, pass: string) =>
      client.unary(FactorService.method.beginEnrollment, {
        subject: who.subject,
        method: Method.SMS,
        sessionToken: token,
        consent: CONSENT,
        phoneNumber: number,
        temporaryPass: pass,
      });
    const number = anotherNumber();
    expect(await reasonOf(begin(b, ''))).toBe('PASS_REQUIRED');
    expect(await reasonOf(begin(b, '0000-0000-0000-0000'))).toBe('PROOF_REFUSED');
    const { factor } = await begin(b, temporaryPass);
    const proof = { case: 'code', value: await site.twilio.codeSentTo(number) } as const;
    const confirmed = await a.unary(FactorService.method.confirmEnrollment, {
      subject: who.subject,
      factorId: factor?.id ?? '',
      proof,
    });
    expect(confirmed.backupCodes).toHaveLength(10);
    expect(await reasonOf(begin(a, temporaryPass))).not.toBe('no error');
  });
});
