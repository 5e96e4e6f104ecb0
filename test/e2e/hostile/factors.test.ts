import { join } from 'node:path';
import { toJsonString } from '@bufbuild/protobuf';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengePurpose, ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService, FactorState, ListFactorsResponseSchema } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { watchHarm } from '../../support/harm-watch.ts';
import { awaySteps, CONSENT, enrolledPerson, openTransfer, signIn } from '../../support/people.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, approvedTransfer, backupCode, changeReceipt, totp } from '../../support/step-up.ts';
import { oathtoolCode } from '../../support/totp-code.ts';
import { eventually, trailOf } from '../../support/trail-of.ts';

const { method: rpc } = FactorService;
const PRECONDITION = 9;
const DENIED = 7;
const UNAUTHENTICATED = 16;
const DATA_LOSS = 15;

let sidecar: Sidecar;
let client: GrpcClient;
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: { SALLYPORT_ENROLLMENT_FIRST_FACTOR_MAX_SESSION_AGE: '10s' } });
  client = sidecar.client();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
});

const begin = (
  subject: string,
  extra: {
    readonly sessionToken?: string;
    readonly receipt?: string;
    readonly replaces?: string;
    readonly requestId?: string;
  },
) => client.unary(rpc.beginEnrollment, { subject, method: Method.TOTP, consent: CONSENT, ...extra });
const confirm = (subject: string, factorId: string, code: string) =>
  client.unary(rpc.confirmEnrollment, { subject, factorId, proof: { case: 'code', value: code } });
const factorsOf = async (subject: string) => (await client.unary(rpc.listFactors, { subject })).factors;
const keyOf = (begun: Awaited<ReturnType<typeof begin>>) => {
  if (begun.material.case !== 'totp') throw new Error('expected TOTP material');
  return begun.material.value.manualKey.replaceAll(' ', '');
};
/** A sign-in challenge, which takes backup codes too. */
const openLogin = async (subject: string) =>
  (await client.unary(ChallengeService.method.openChallenge, { subject, purpose: ChallengePurpose.LOGIN })).challenge
    ?.id ?? '';

describe('a first factor', () => {
  it('needs a session of the person that is young and good', async () => {
    const old = await signIn(client, 'newcomer');
    const other = await signIn(client, 'other');
    const refusals: readonly [string, string, number, string][] = [
      ['no session', '', UNAUTHENTICATED, 'SESSION_INVALID'],
      ['nonsense', 'sps_nonsense', UNAUTHENTICATED, 'SESSION_INVALID'],
      ['an id', old.sessionId, UNAUTHENTICATED, 'SESSION_INVALID'],
      ['a session of somebody else', other.token, DENIED, 'NOT_OWNER'],
    ];
    for (const [what, sessionToken, code, reason] of refusals)
      expect(await begin('newcomer', { sessionToken }).catch(errorInfo), what).toMatchObject({ code, reason });
    // Use does not make it younger.
    for (let second = 0; second < 10; second += 1) {
      await client.unary(SessionService.method.validateSession, { token: old.token });
      await new Promise((resolve) => setTimeout(resolve, 1_010));
    }
    expect(await begin('newcomer', { sessionToken: old.token }).catch(errorInfo)).toMatchObject({
      code: PRECONDITION,
      reason: 'SESSION_TOO_OLD',
    });
    expect(await factorsOf('newcomer')).toEqual([]);
    const events = await eventually(
      sidecar,
      { subject: 'newcomer', types: ['factor.enrollment_refused'] },
      undefined,
      3,
    );
    expect(new Set(events.map((event) => event.reason))).toEqual(
      new Set(['SESSION_INVALID', 'NOT_OWNER', 'SESSION_TOO_OLD']),
    );
    const young = await signIn(client, 'newcomer');
    expect((await begin('newcomer', { sessionToken: young.token })).factor?.state).toBe(FactorState.PENDING);
  });

  it('is not slipped under the one that was begun: each code confirms its own seed only', async () => {
    const owner = await signIn(client, 'prey');
    const mine = await begin('prey', { sessionToken: owner.token });
    const stolen = await signIn(client, 'prey');
    const theirs = await begin('prey', { sessionToken: stolen.token });
    expect(theirs.factor?.id).not.toBe(mine.factor?.id);
    await awaySteps();
    const myCode = oathtoolCode(keyOf(mine));
    const swapped = await confirm('prey', theirs.factor?.id ?? '', myCode).catch(errorInfo);
    expect(swapped).toMatchObject({ code: 3, reason: 'PROOF_REFUSED' });
    const late = await confirm('prey', mine.factor?.id ?? '', myCode).catch(errorInfo);
    expect(late).toMatchObject({ code: 5, reason: 'FACTOR_NOT_FOUND' });
    expect((await factorsOf('prey')).filter((factor) => factor.state === FactorState.ACTIVE)).toEqual([]);
    const foreign = await confirm('other', theirs.factor?.id ?? '', oathtoolCode(keyOf(theirs))).catch(errorInfo);
    expect(foreign).toMatchObject({ code: 5, reason: 'FACTOR_NOT_FOUND' });
  });

  it('is one of many that are begun at once, and only one is confirmed as the first', async () => {
    const { token } = await signIn(client, 'many');
    const begun = await Promise.all(
      Array.from({ length: 20 }, () => begin('many', { sessionToken: token }).catch(() => undefined)),
    );
    await awaySteps();
    const outcomes = await Promise.all(
      begun.map((one) =>
        one
          ? confirm('many', one.factor?.id ?? '', oathtoolCode(keyOf(one))).then(
              () => 'confirmed',
              (error: unknown) => errorInfo(error).reason,
            )
          : 'refused',
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'confirmed')).toHaveLength(1);
    const held = await factorsOf('many');
    expect(held.filter((factor) => factor.method === Method.TOTP)).toHaveLength(1);
    expect(held.filter((factor) => factor.method === Method.BACKUP_CODE)).toHaveLength(1);
  });
});

describe('a stolen session', () => {
  it('adds, replaces, removes and renews nothing without a fresh proof, however young it is', async () => {
    const person = await enrolledPerson(client, 'robbed');
    const thief = await signIn(client, 'robbed');
    const attempts: readonly [string, () => Promise<unknown>][] = [
      ['add', () => begin('robbed', { sessionToken: thief.token })],
      ['replace', () => begin('robbed', { sessionToken: thief.token, replaces: person.factorId })],
      ['remove', () => client.unary(rpc.removeFactor, { subject: 'robbed', factorId: person.factorId })],
      ['renew', () => client.unary(rpc.regenerateBackupCodes, { subject: 'robbed' })],
    ];
    for (const [what, attempt] of attempts)
      expect(await attempt().catch(errorInfo), what).toMatchObject({ code: PRECONDITION, reason: 'STEP_UP_REQUIRED' });
    // Nor with the proof of anything else, nor with somebody else's.
    const transfer = await approvedTransfer(client, person);
    for (const [what, attempt] of [
      ['add', () => begin('robbed', { sessionToken: thief.token, receipt: transfer })],
      [
        'remove',
        () => client.unary(rpc.removeFactor, { subject: 'robbed', factorId: person.factorId, receipt: transfer }),
      ],
      ['renew', () => client.unary(rpc.regenerateBackupCodes, { subject: 'robbed', receipt: transfer })],
    ] as const)
      expect(await attempt().catch(errorInfo), what).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    const neighbour = await enrolledPerson(client, 'neighbour');
    const theirs = await changeReceipt(client, neighbour, 'factor.regenerate', 'factors/backup_code');
    const crossed = await client
      .unary(rpc.regenerateBackupCodes, { subject: 'robbed', receipt: theirs })
      .catch(errorInfo);
    expect(crossed).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    expect(await factorsOf('robbed')).toHaveLength(2);
    const events = await eventually(sidecar, { subject: 'robbed' }, (event) => event.reason === 'STEP_UP_REQUIRED', 2);
    expect(new Set(events.map((event) => event.type))).toEqual(
      new Set(['factor.enrollment_refused', 'factor.change_refused']),
    );
  });

  it('does not prove a change of factors by a backup code, nor get around it by session or realm', async () => {
    const person = await enrolledPerson(client, 'recoverer');
    const opened = await client.unary(ChallengeService.method.openChallenge, {
      sessionToken: person.token,
      purpose: ChallengePurpose.FACTOR_CHANGE,
      action: { resource: 'factors/backup_code', action: 'factor.regenerate' },
    });
    const [spare = ''] = person.backupCodes;
    const told = await answer(client, opened.challenge?.id ?? '', person.token, backupCode(spare));
    if (told.end === 'approved') {
      const renewed = await client
        .unary(rpc.regenerateBackupCodes, { subject: 'recoverer', receipt: told.receipt })
        .catch(errorInfo);
      expect(renewed).toMatchObject({ code: DENIED, reason: 'RECEIPT_MISMATCH' });
    } else {
      expect(told).toMatchObject({ end: 'failed', reason: 'METHOD_NOT_OFFERED' });
      expect((await client.unary(rpc.getMfaStatus, { subject: 'recoverer' })).backupCodesLeft).toBe(10);
    }
  });
});

describe('backup codes', () => {
  it('let exactly one of 30 parallel uses of one code in, over several challenges', async () => {
    const person = await enrolledPerson(client, 'rescued');
    const [code = ''] = person.backupCodes;
    const challenges = await Promise.all([1, 2, 3].map(() => openLogin('rescued')));
    const told = await Promise.all(
      Array.from({ length: 30 }, (_, index) => answer(client, challenges[index % 3] ?? '', '', backupCode(code))),
    );
    const ids = await Promise.all(
      challenges.map((challengeId) => client.unary(ChallengeService.method.getChallenge, { challengeId })),
    );
    expect(ids.filter(({ challenge }) => challenge?.state === ChallengeState.APPROVED)).toHaveLength(1);
    expect(told.some(({ end }) => end === 'approved')).toBe(true);
    expect((await client.unary(rpc.getMfaStatus, { subject: 'rescued' })).backupCodesLeft).toBe(9);
    expect(await trailOf(sidecar, { subject: 'rescued', types: ['backup_code.used'] })).toHaveLength(1);
  });

  it('of an old set are all dead once the set is renewed, and the new ones live', async () => {
    const person = await enrolledPerson(client, 'renewer');
    const receipt = await changeReceipt(client, person, 'factor.regenerate', 'factors/backup_code');
    const { backupCodes } = await client.unary(rpc.regenerateBackupCodes, { subject: 'renewer', receipt });
    expect(new Set([...backupCodes, ...person.backupCodes]).size).toBe(20);
    const challenge = await openLogin('renewer');
    for (const old of person.backupCodes.slice(0, 3))
      expect((await answer(client, challenge, '', backupCode(old))).end).toBe('refused');
    const [fresh = ''] = backupCodes;
    expect((await answer(client, challenge, '', backupCode(` ${fresh.toLowerCase()}`))).end).not.toBe('failed');
    const again = await client.unary(rpc.regenerateBackupCodes, { subject: 'renewer', receipt }).catch(errorInfo);
    expect(again).toMatchObject({ code: PRECONDITION, reason: 'RECEIPT_REDEEMED' });
  });

  it("of somebody else are nobody's, and stay unspent", async () => {
    const [ann, bob] = [await enrolledPerson(client, 'code-ann'), await enrolledPerson(client, 'code-bob')];
    const [code = ''] = bob.backupCodes;
    expect((await answer(client, await openLogin('code-ann'), '', backupCode(code))).end).toBe('refused');
    expect((await answer(client, await openLogin('code-bob'), '', backupCode(code))).end).toBe('approved');
    expect((await client.unary(rpc.getMfaStatus, { subject: ann.subject })).backupCodesLeft).toBe(10);
  });

  it('are refused and stay unspent where an authenticator is asked for', async () => {
    const person = await enrolledPerson(client, 'strict');
    const [code = ''] = person.backupCodes;
    const told = await answer(client, await openTransfer(client, person), person.token, backupCode(code));
    expect(told).toMatchObject({ end: 'failed', reason: 'METHOD_NOT_OFFERED' });
    expect((await client.unary(rpc.getMfaStatus, { subject: 'strict' })).backupCodesLeft).toBe(10);
    const [event] = await eventually(sidecar, { subject: 'strict', types: ['challenge.refused'] });
    expect(event).toMatchObject({ reason: 'METHOD_NOT_OFFERED', method: Method.BACKUP_CODE });
  });
});

describe('the last factor', () => {
  it('cannot be removed, even with the right receipt', async () => {
    const person = await enrolledPerson(client, 'last');
    const receipt = await changeReceipt(client, person, 'factor.remove', `factors/${person.factorId}`);
    const removed = await client
      .unary(rpc.removeFactor, { subject: 'last', factorId: person.factorId, receipt })
      .catch(errorInfo);
    expect(removed).toMatchObject({ code: PRECONDITION, reason: 'LAST_FACTOR' });
    expect(await factorsOf('last')).toHaveLength(2);
    const [event] = await eventually(sidecar, { subject: 'last', types: ['factor.change_refused'] });
    expect(event).toMatchObject({ reason: 'LAST_FACTOR', factorId: person.factorId });
  });

  it('is not two factors when it is used twice', async () => {
    const person = await enrolledPerson(client, 'twice');
    let { token } = person;
    const levels: string[][] = [];
    for (let round = 0; round < 2; round += 1) {
      const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
        sessionToken: token,
        purpose: ChallengePurpose.STEP_UP,
      });
      const { receipt } = await answer(client, challenge?.id ?? '', token, totp(person.nextCode()));
      const updated = await client.unary(SessionService.method.updateSession, { token, receipt });
      token = updated.token;
      levels.push([...(updated.session?.amr ?? []), updated.session?.acr ?? '']);
    }
    expect(levels[1]).toEqual(levels[0]);
    expect(new Set(levels[1]).size).toBe(levels[1]?.length);
  });
});

describe('a seed', () => {
  it('is shown at the beginning and never again', async () => {
    const { token } = await signIn(client, 'secretive');
    const requestId = '9d1fb2f6-8b0f-4a2e-9a86-0c9b4d6f1e01';
    const begun = await begin('secretive', { sessionToken: token, requestId });
    const key = keyOf(begun);
    expect(Buffer.from(key, 'latin1')).toHaveLength(32);
    expect(keyOf(await begin('secretive', { sessionToken: token, requestId }))).toBe(key);
    await awaySteps();
    await confirm('secretive', begun.factor?.id ?? '', oathtoolCode(key));
    const again = await begin('secretive', { sessionToken: token, requestId }).catch(errorInfo);
    expect(again).toMatchObject({ code: PRECONDITION, reason: 'FACTOR_STATE' });
    const listed = toJsonString(
      ListFactorsResponseSchema,
      await client.unary(rpc.listFactors, { subject: 'secretive' }),
    );
    expect(listed).not.toContain(key);
    const done = await confirm('secretive', begun.factor?.id ?? '', oathtoolCode(key, 1)).catch(errorInfo);
    expect(done).toMatchObject({ code: PRECONDITION, reason: 'FACTOR_STATE' });
    expect(JSON.stringify(done)).not.toContain(key);
  });
});

describe('rows that were swapped in the stopped database', () => {
  const swap = (
    dataDir: string,
    table: string,
    columns: readonly string[],
    [one, other]: readonly [string, string],
  ) => {
    const db = new Database(join(dataDir, 'state.db'));
    const read = (id: string) =>
      db
        .prepare(`SELECT ${columns.join(', ')} FROM ${table} WHERE id = ?`)
        .raw()
        .get(id) as unknown[];
    const [first, second] = [read(one), read(other)];
    const write = db.prepare(`UPDATE ${table} SET ${columns.map((column) => `${column} = ?`).join(', ')} WHERE id = ?`);
    write.run(...second, one);
    write.run(...first, other);
    db.close();
  };

  it('open nothing: seeds fail closed with an alarm, codes are wrong, and the sidecar serves on', async () => {
    let own = await Sidecar.start();
    const { dataDir, ports } = own;
    try {
      const [ann, bob] = [
        await enrolledPerson(own.client(), 'swap-ann'),
        await enrolledPerson(own.client(), 'swap-bob'),
      ];
      await own.stop();
      swap(dataDir, 'factors', ['sealed_secret'], [ann.factorId, bob.factorId]);
      const db = new Database(join(dataDir, 'state.db'));
      const codeOf = db
        .prepare('SELECT c.id FROM backup_codes c JOIN factors f ON f.id = c.factor_id WHERE f.subject = ? LIMIT 1')
        .pluck();
      const ids = ['swap-ann', 'swap-bob'].map((subject) => String(codeOf.get(subject))) as [string, string];
      db.close();
      swap(dataDir, 'backup_codes', ['selector', 'salt', 'hash'], ids);
      own = await Sidecar.start({ dataDir, ports });
      const by = own.client();
      const state = await watchHarm(own);
      for (const person of [ann, bob]) {
        const challengeId = await openTransfer(by, person);
        // Codes of either seed: neither may open the other's door, nor its own with a seed that is not its own.
        for (const key of [ann.key, bob.key]) {
          const error = await by
            .unary(ChallengeService.method.answerChallenge, {
              challengeId,
              sessionToken: person.token,
              step: totp(oathtoolCode(key, 1)),
            })
            .catch(errorInfo);
          expect(error).toMatchObject({ code: DATA_LOSS, reason: 'INTEGRITY' });
        }
        const { challenge } = await by.unary(ChallengeService.method.getChallenge, {
          challengeId,
          sessionToken: person.token,
        });
        expect(challenge?.state).toBe(ChallengeState.PENDING);
        expect(await trailOf(own, { subject: person.subject, types: ['challenge.approved'] })).toHaveLength(0);
      }
      expect(own.stdout + own.stderr).toContain('failed its integrity check');
      const { challenge } = await by.unary(ChallengeService.method.openChallenge, {
        subject: 'swap-ann',
        purpose: ChallengePurpose.LOGIN,
      });
      for (const code of bob.backupCodes.slice(0, 3))
        expect((await answer(by, challenge?.id ?? '', '', backupCode(code))).end).not.toBe('approved');
      await state.unharmed(96);
    } finally {
      await own.stop();
    }
  });
});
