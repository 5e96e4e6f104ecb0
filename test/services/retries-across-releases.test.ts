import { expect, it } from 'vitest';
import { SqlSubjectStore } from '#src/adapters/sql/subject-store.ts';
import { DAY } from '#src/domain/time.ts';
import { fingerprintFields } from '#src/services/challenges/open-command.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { APP, FactorWorld, LAPTOP as PHONE, REALM as SHOP } from '../support/factor-world.ts';
import { personWorld, REALM } from '../support/person-world.ts';
import { APPLICATION, LAPTOP } from '../support/session-world.ts';

const REQUEST_ID = '0b9c3b0e-2a57-4d0e-9d0c-6a1f0e8f7c11';
const CLIENT = [LAPTOP.ipAddress, LAPTOP.userAgent, LAPTOP.deviceId] as const;

/** As the release before listed them: a retry may come to the other release than the first try. */
it('takes a session that the release before was asked for as the same request', async () => {
  const { sessions, stores, claims, clock } = personWorld();
  await sessions.creation.create(
    {
      realm: REALM,
      subject: 'ann',
      client: LAPTOP,
      receipt: '',
      labels: { app: 'shop' },
      endSessionIds: [],
      rememberDevice: false,
      deviceName: '',
      requestId: REQUEST_ID,
    },
    APPLICATION,
  );
  const before = claims.claim({
    realm: REALM,
    method: 'CreateSession',
    caller: APPLICATION,
    requestId: REQUEST_ID,
    fields: ['ann', '', JSON.stringify(CLIENT), JSON.stringify([['app', 'shop']]), '[]'],
    seed: '',
  });
  expect(before && (await stores.subjects.known(before, clock.now()))).toMatchObject({ outcome: 'repeat' });
});

it('takes an enrolment that the release before was asked for as the same request', async () => {
  const world = new FactorWorld();
  const sessionToken = world.signIn('ann');
  await world.begin({ subject: 'ann', sessionToken, requestId: REQUEST_ID });
  const before = new RequestClaims({ ...world, ttlMs: DAY }).claim({
    realm: SHOP,
    method: 'BeginEnrollment',
    caller: APP,
    requestId: REQUEST_ID,
    fields: [
      'ann',
      'totp',
      'Phone',
      sessionToken,
      '',
      '',
      '',
      '2026-11',
      'en',
      PHONE.ipAddress,
      PHONE.userAgent,
      PHONE.deviceId,
    ],
    seed: '',
  });
  const store = new SqlSubjectStore(world.sql, { table: 'subjects' });
  expect(before && (await store.known(before, world.clock.now()))).toMatchObject({ outcome: 'repeat' });
});

it('lists of a challenge what the release before listed, in its order', () => {
  const fields = fingerprintFields({
    realm: REALM,
    subject: 'ann',
    sessionToken: 'token',
    purpose: 'action',
    action: { resource: 'accounts/42', action: 'transfer', details: new Map([['amount', '9 €']]) },
    sensitivity: 'critical',
    methods: ['totp', 'sms'],
    audience: 'app',
    client: LAPTOP,
    requestId: REQUEST_ID,
    method: 'totp',
    trustedDeviceToken: 'spd_',
    language: 'de',
  });
  const action = ['accounts/42', 'transfer', 'amount', '9 €'];
  expect(fields).toEqual(['ann', 'token', 'action', 'critical', 'app', 'totp', 'totp,sms', ...CLIENT, ...action]);
});
