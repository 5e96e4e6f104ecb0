import { generateKeyPair, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengePurpose, ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { type HarmWatch, watchHarm } from '../../support/harm-watch.ts';
import { enrolledPerson, openTransfer, type Person, TRANSFER } from '../../support/people.ts';
import { type Redeem, redeem, redeemBy } from '../../support/redeem.ts';
import { temporaryFile } from '../../support/settings-file.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, approvedTransfer, changeReceipt, totp } from '../../support/step-up.ts';
import { eventually, factOf, trailOf } from '../../support/trail-of.ts';

const { method: rpc } = ChallengeService;
const PRECONDITION = 9;
const DENIED = 7;
const UNAUTHENTICATED = 16;

let sidecar: Sidecar;
let client: GrpcClient;
let state: HarmWatch;
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: { SALLYPORT_REALMS: '["shop","support"]' } });
  client = sidecar.client();
  await enrolledPerson(client, 'warm-up');
  state = await watchHarm(sidecar);
});
afterAll(async () => {
  // Slow hashes of a dozen enrolments work in memory of their own, which the process keeps.
  await state.unharmed(160);
  await sidecar[Symbol.asyncDispose]();
});

describe('a receipt', () => {
  const voided: readonly [string, Redeem | ((other: Person) => Redeem), string][] = [
    ['another amount', { action: { ...TRANSFER, details: { ...TRANSFER.details, amount: '901 EUR' } } }, 'action'],
    ['a further detail', { action: { ...TRANSFER, details: { ...TRANSFER.details, note: '' } } }, 'action'],
    ['a detail less', { action: { ...TRANSFER, details: { to: 'Eve' } } }, 'action'],
    ['another resource', { action: { ...TRANSFER, resource: 'accounts/43' } }, 'action'],
    ['another verb', { action: { ...TRANSFER, action: 'transfer.Create' } }, 'action'],
    [
      'fields that swap their places',
      { action: { ...TRANSFER, resource: TRANSFER.action, action: TRANSFER.resource } },
      'action',
    ],
    [
      'another spelling of the same letters',
      { action: { ...TRANSFER, details: { ...TRANSFER.details, to: 'E\u0301ve' } } },
      'action',
    ],
    ['another person', { subject: 'somebody' }, 'subject'],
    ['another audience', { audience: 'ledger' }, 'audience'],
    ['another session', (other) => ({ sessionToken: other.token }), 'session'],
    ['no session', { sessionToken: '' }, 'session'],
  ];

  it('is refused for anything but what was approved, void from then on, and both is written down', async () => {
    const other = await enrolledPerson(client, 'other');
    let person: Person | undefined;
    let used = 2;
    for (const [index, [what, change, part]] of voided.entries()) {
      if (used === 2 || !person) {
        person = await enrolledPerson(client, `payer-${index}`);
        used = 0;
      }
      used += 1;
      const receipt = await approvedTransfer(client, person);
      const right = redeemBy(person);
      const over = typeof change === 'function' ? change(other) : change;
      expect(await redeem(client, receipt, { ...right, ...over }), what).toMatchObject({
        code: DENIED,
        reason: 'RECEIPT_MISMATCH',
        metadata: { mismatch: part },
      });
      expect(await redeem(client, receipt, right), what).toMatchObject({
        code: PRECONDITION,
        reason: 'RECEIPT_REDEEMED',
      });
      const [event] = await eventually(
        sidecar,
        { realm: 'shop', subject: person.subject, types: ['receipt.refused'] },
        (one) => factOf(one, 'mismatch') === part,
      );
      expect(event, what).toMatchObject({ reason: 'RECEIPT_MISMATCH' });
      expect(
        await trailOf(sidecar, { realm: 'shop', subject: person.subject, types: ['receipt.redeemed'] }),
      ).toHaveLength(0);
    }
  });

  it('does not mind the order of details', async () => {
    const person = await enrolledPerson(client, 'ordered');
    const receipt = await approvedTransfer(client, person);
    const details = { to: TRANSFER.details.to, amount: TRANSFER.details.amount };
    const over = { ...redeemBy(person), action: { ...TRANSFER, details } };
    expect(await redeem(client, receipt, over)).toMatchObject({ reason: 'redeemed' });
    expect(await redeem(client, receipt, over)).toMatchObject({ code: PRECONDITION, reason: 'RECEIPT_REDEEMED' });
    expect(await redeem(sidecar.client(), receipt, over)).toMatchObject({ reason: 'RECEIPT_REDEEMED' });
  });

  it('cannot be forged: no algorithm, another key, a key it brings itself, changed or cut', async () => {
    const person = await enrolledPerson(client, 'forged');
    const receipt = await approvedTransfer(client, person);
    const [head = '', body = '', signature = ''] = receipt.split('.');
    const parse = (part: string) =>
      JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const header = parse(head);
    const claims = parse(body);
    const { keys } = (await (await fetch(`${sidecar.httpUrl}/.well-known/jwks.json`)).json()) as {
      keys: Record<string, string>[];
    };
    const [published] = keys;
    expect(published).not.toHaveProperty('d');
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
    const own = { ...(await crypto.subtle.exportKey('jwk', publicKey as never)) };
    const signed = (extra: object, key: Parameters<SignJWT['sign']>[0] = privateKey) =>
      new SignJWT(claims).setProtectedHeader({ ...header, ...extra } as never).sign(key);
    const secret = Buffer.from(published?.['x'] ?? '', 'base64url');
    const forgeries: readonly [string, string][] = [
      ['no algorithm', `${encode({ ...header, alg: 'none' })}.${body}.`],
      ['no algorithm, spelled otherwise', `${encode({ ...header, alg: 'NoNe' })}.${body}.`],
      ['no signature', `${head}.${body}.`],
      ['two parts', `${head}.${body}`],
      ['another key under the same id', await signed({})],
      ['another key under its own id', await signed({ kid: 'key_mine' })],
      ['a key it brings itself', await signed({ jwk: own })],
      [
        'a place to fetch the key from',
        await signed({ jku: `${sidecar.httpUrl}/.well-known/jwks.json`, kid: 'key_mine' }),
      ],
      ['the public key as a shared secret', await signed({ alg: 'HS256' }, secret)],
      ['another type', await signed({ typ: 'JWT' })],
      ['a type of its own, rightly signed head', `${encode({ ...header, typ: 'JWT' })}.${body}.${signature}`],
      ['a later end', `${head}.${encode({ ...claims, exp: Number(claims['exp']) + 3_600 })}.${signature}`],
      ['another person', `${head}.${encode({ ...claims, sub: 'somebody' })}.${signature}`],
      ['a critical header', `${encode({ ...header, crit: ['x'], x: 1 })}.${body}.${signature}`],
      ['a signature of zeros', `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`],
      ['blanks around it', ` ${receipt}\n`],
      ['itself twice', `${receipt}.${receipt}`],
      ['a session token', person.token],
      ['the id of the receipt', String(claims['jti'])],
      ['nothing like it', 'x'],
    ];
    for (const [what, token] of forgeries) {
      const told = await redeem(client, token, redeemBy(person));
      expect(told, what).toMatchObject({ code: PRECONDITION, reason: 'RECEIPT_INVALID' });
    }
    const events = await eventually(sidecar, { realm: 'shop', subject: 'forged', types: ['receipt.refused'] });
    expect(events[0]).toMatchObject({ reason: 'RECEIPT_INVALID' });
    // The real one is still worth what it was.
    expect(await redeem(client, receipt, redeemBy(person))).toMatchObject({ reason: 'redeemed' });
  });

  it('is no session token, and no receipt for another purpose', async () => {
    const person = await enrolledPerson(client, 'purpose');
    const receipt = await approvedTransfer(client, person);
    const { method: session } = SessionService;
    expect(await client.unary(session.validateSession, { token: receipt }).catch(errorInfo)).toMatchObject({
      code: UNAUTHENTICATED,
      reason: 'SESSION_INVALID',
    });
    const login = await client.unary(session.createSession, { subject: 'purpose', receipt }).catch(errorInfo);
    expect(login).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    const { method: factor } = FactorService;
    const removed = await client
      .unary(factor.removeFactor, { subject: 'purpose', factorId: person.factorId, receipt })
      .catch(errorInfo);
    expect(removed).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    // A receipt for an audience elsewhere raises no session here.
    const foreign = await client.unary(rpc.openChallenge, {
      sessionToken: person.token,
      purpose: ChallengePurpose.STEP_UP,
      audience: 'ledger',
    });
    const told = await answer(client, foreign.challenge?.id ?? '', person.token, totp(person.nextCode()));
    const raised = await client
      .unary(session.updateSession, { token: person.token, receipt: told.receipt })
      .catch(errorInfo);
    expect(raised).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    await client.unary(session.validateSession, { token: person.token });
    const refused = await eventually(
      sidecar,
      { realm: 'shop', subject: 'purpose' },
      (one) => one.reason === 'RECEIPT_MISMATCH',
      2,
    );
    // Both refusals by SessionService fold into one event.
    expect(refused.map((one) => one.type).sort()).toEqual(['factor.change_refused', 'session.refused']);
  });

  it('of a change of factors is for that one change', async () => {
    const person = await enrolledPerson(client, 'changer');
    const receipt = await changeReceipt(client, person, 'factor.enroll', 'factors/totp');
    const { method: factor } = FactorService;
    const others = [
      () => client.unary(factor.removeFactor, { subject: 'changer', factorId: person.factorId, receipt }),
      () => client.unary(factor.regenerateBackupCodes, { subject: 'changer', receipt }),
    ];
    for (const other of others)
      expect(await other().catch(errorInfo)).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    expect((await client.unary(factor.listFactors, { subject: 'changer' })).factors).toHaveLength(2);
  });
});

describe('the order of things', () => {
  it('has no receipt before the approval, and none after an end without one', async () => {
    const person = await enrolledPerson(client, 'skipper');
    const challengeId = await openTransfer(client, person);
    const ref = { challengeId, sessionToken: person.token };
    expect((await client.unary(rpc.getChallenge, ref)).receipt).toBeUndefined();
    expect(await redeem(client, challengeId, redeemBy(person))).toMatchObject({
      code: PRECONDITION,
      reason: 'RECEIPT_INVALID',
    });
    await client.unary(rpc.cancelChallenge, ref);
    const late = await answer(client, challengeId, person.token, totp(person.nextCode()));
    expect(late).toMatchObject({ end: 'failed', reason: 'CHALLENGE_ENDED' });
    const seen = await client.unary(rpc.getChallenge, ref);
    expect(seen.challenge?.state).toBe(ChallengeState.CANCELLED);
    expect(seen.receipt).toBeUndefined();
    expect(await trailOf(sidecar, { challengeId, types: ['challenge.approved'] })).toHaveLength(0);
  });

  it('does not reopen what has ended, neither by its request id nor by cancelling', async () => {
    const person = await enrolledPerson(client, 'reopener');
    const requestId = '7a0e3a53-3a68-4e8c-9b86-6d4a0a1f2b01';
    const challengeId = await openTransfer(client, person, { requestId });
    const ref = { challengeId, sessionToken: person.token };
    await client.unary(rpc.cancelChallenge, ref);
    const again = await client.unary(rpc.openChallenge, {
      sessionToken: person.token,
      action: TRANSFER,
      sensitivity: Sensitivity.CRITICAL,
      requestId,
    });
    expect(again.challenge).toMatchObject({ id: challengeId, state: ChallengeState.CANCELLED });
    const approvedId = await openTransfer(client, person);
    await answer(client, approvedId, person.token, totp(person.nextCode()));
    const cancelled = await client.unary(rpc.cancelChallenge, { ...ref, challengeId: approvedId });
    expect(cancelled.challenge?.state).toBe(ChallengeState.APPROVED);
    expect(await trailOf(sidecar, { challengeId: approvedId, types: ['challenge.cancelled'] })).toHaveLength(0);
  });

  it('takes no right code after the time is up, spends nothing for it, and the code is still good elsewhere', async () => {
    await using short = await Sidecar.start({
      // Long enough for the challenge that is answered in time, on a machine that stands still for a while.
      env: { MFA_TIMEOUT_SECONDS: '10', SALLYPORT_CHALLENGE_RECEIPT_TTL: '5s' },
    });
    const by = short.client();
    const person = await enrolledPerson(by, 'late');
    const challengeId = await openTransfer(by, person);
    const code = person.nextCode();
    await new Promise((resolve) => setTimeout(resolve, 10_200));
    expect(await answer(by, challengeId, person.token, totp(code))).toMatchObject({
      end: 'failed',
      reason: 'CHALLENGE_ENDED',
    });
    const { challenge } = await by.unary(rpc.getChallenge, { challengeId, sessionToken: person.token });
    expect(challenge?.state).toBe(ChallengeState.EXPIRED);
    const next = await openTransfer(by, person);
    expect(await answer(by, next, person.token, totp('000000'))).toMatchObject({ attemptsLeft: 4 });
    const approved = await answer(by, next, person.token, totp(code));
    expect(approved.end).toBe('approved');
    // And the receipt of it lapses too.
    await new Promise((resolve) => setTimeout(resolve, 6_100));
    expect(await redeem(by, approved.receipt, redeemBy(person))).toMatchObject({
      code: PRECONDITION,
      reason: 'RECEIPT_INVALID',
    });
    expect(
      (await by.unary(rpc.getChallenge, { challengeId: next, sessionToken: person.token })).receipt,
    ).toBeUndefined();
    expect(await trailOf(short, { subject: 'late', types: ['challenge.expired'] })).toHaveLength(1);
  });
});

describe('the policy', () => {
  it('cannot be talked down: a rule raises what the caller holds to be harmless', async () => {
    const settings = temporaryFile(
      'policy:\n  rules:\n    - match: { action: "transfer.*" }\n      sensitivity: critical\n    - match: { action: "never.*" }\n      require: deny\n',
    );
    await using ruled = await Sidecar.start({ args: ['--config', settings] });
    const by = ruled.client();
    const person = await enrolledPerson(by, 'talker');
    for (const sensitivity of [Sensitivity.LOW, Sensitivity.UNSPECIFIED]) {
      const opened = await by.unary(rpc.openChallenge, { sessionToken: person.token, action: TRANSFER, sensitivity });
      expect(opened.challenge).toMatchObject({ state: ChallengeState.PENDING, sensitivity: Sensitivity.CRITICAL });
      expect(opened.receipt).toBeUndefined();
    }
    const never = await by
      .unary(rpc.openChallenge, {
        sessionToken: person.token,
        action: { resource: 'r', action: 'never.ever' },
        sensitivity: Sensitivity.LOW,
      })
      .catch(errorInfo);
    expect(never).toMatchObject({ code: DENIED, reason: 'POLICY_DENIED' });
    const nobody = await by.unary(rpc.openChallenge, { subject: 'unenrolled', action: TRANSFER }).catch(errorInfo);
    expect(nobody).toMatchObject({ code: PRECONDITION, reason: 'MFA_NOT_ENROLLED' });
    const events = await eventually(ruled, { subject: 'talker', types: ['request.refused'] });
    expect(events[0]).toMatchObject({ reason: 'POLICY_DENIED' });
  });
});
