import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readDevice, readSubscription, writeDevice } from '#src/domain/push-device.ts';
import { isP256Point, readDeviceKey } from '#src/domain/push-device-key.ts';
import {
  type PushAnswerFields,
  pushAnswerBytes,
  pushEnrollmentBytes,
  pushViewBytes,
  subscriptionDigest,
} from '#src/domain/push-message.ts';
import { isPushNumber, pushNumber } from '#src/domain/push-number.ts';
import { pushPayload } from '#src/domain/push-payload.ts';

const ANSWER: PushAnswerFields = {
  challengeId: 'chl_01234567890123456789abcdefg',
  factorId: 'fac_0123456789abcdefghjkmnpqrst',
  realm: 'shop',
  subject: 'zoë',
  actionDigest: `sha-256:${'A'.repeat(43)}`,
  number: '42',
  answer: 'approve',
};
const SUBSCRIPTION = { endpoint: 'https://fcm.googleapis.com/fcm/send/abc', p256dh: 'BPoint', auth: 'c2VjcmV0' };

const ecKeys = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve });
const spkiOf = (key: KeyObject) => new Uint8Array(key.export({ format: 'der', type: 'spki' }));
const signed = (message: Uint8Array, key: KeyObject) => sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('the bytes that a device signs', () => {
  it('are, for an answer, these', () => {
    // Written out by hand: length in four bytes, then the field.
    const field = (text: string) => {
      const bytes = Buffer.from(text, 'utf8');
      return `${bytes.length.toString(16).padStart(8, '0')}${bytes.toString('hex')}`;
    };
    const fields = [
      'sallyport-push-answer-v1',
      ...['chl_01234567890123456789abcdefg', 'fac_0123456789abcdefghjkmnpqrst', 'shop', 'zoë'],
      ...[`sha-256:${'A'.repeat(43)}`, '42', 'approve'],
    ];
    expect(hex(pushAnswerBytes(ANSWER))).toBe(fields.map(field).join(''));
    expect(field('zoë')).toBe('000000047a6fc3ab');
  });

  it('are these in all languages', () => {
    const view = {
      challengeId: ANSWER.challengeId,
      factorId: ANSWER.factorId,
      realm: 'shop',
      issuedAt: 1_763_776_800_000,
    };
    const { factorId, realm, subject } = ANSWER;
    const publicKey = Uint8Array.from({ length: 91 }, (_, index) => index);
    expect({
      answer: sha256(pushAnswerBytes(ANSWER)),
      denial: sha256(pushAnswerBytes({ ...ANSWER, number: '', answer: 'deny' })),
      report: sha256(pushAnswerBytes({ ...ANSWER, number: '', answer: 'not_me' })),
      view: sha256(pushViewBytes(view)),
      subscription: hex(subscriptionDigest(SUBSCRIPTION)),
      enrollment: sha256(pushEnrollmentBytes({ factorId, realm, subject, publicKey, subscription: SUBSCRIPTION })),
    }).toMatchInlineSnapshot(`
      {
        "answer": "e100c0051adfd9256d70759e5d2fe1b5093245028eb6aecf357e1dbc7234b809",
        "denial": "19713434064454102571957df108d32ff930ed116f8524be52c5aae53ce62645",
        "enrollment": "900f23336c63c5fd1c351cdf4ccacb5277ccd9276b06fce619aa5de09f7150d5",
        "report": "29c88cdd53cb613f64b9b26e9ba1688d8279dd3dcf394a506a9cfaa12a5c83aa",
        "subscription": "a1eda3d2624d50dbe5de6722d9c53941a492388657ed82e8359d815fcd9b0ffc",
        "view": "4b107e1a64a719d27a90620438b6727ff3acc845c69cd51e467f9c38edf068b8",
      }
    `);
  });

  it('are others for every field that differs, also where the fields run together to the same text', () => {
    const changed: readonly Partial<PushAnswerFields>[] = [
      {},
      { challengeId: 'chl_1' },
      { factorId: 'fac_1' },
      { realm: 'shop2' },
      { subject: 'zoe' },
      { actionDigest: `sha-256:${'B'.repeat(43)}` },
      { number: '43' },
      { number: '' },
      { answer: 'deny' },
      { answer: 'not_me' },
      { realm: 'sho', subject: 'pzoë' },
      { number: '', answer: '42approve' as 'approve' },
      { challengeId: ANSWER.factorId, factorId: ANSWER.challengeId },
    ];
    const all = changed.map((one) => hex(pushAnswerBytes({ ...ANSWER, ...one })));
    expect(new Set(all).size).toBe(changed.length);
  });

  it('differ between the purposes, whatever is in the fields', () => {
    const bytes = [
      pushAnswerBytes(ANSWER),
      pushViewBytes({ challengeId: 'chl_1', factorId: 'fac_1', realm: 'shop', issuedAt: 1 }),
      pushEnrollmentBytes({
        factorId: 'fac_1',
        realm: 'shop',
        subject: 'zoë',
        publicKey: new Uint8Array(91),
        subscription: SUBSCRIPTION,
      }),
    ];
    const labels = bytes.map((one) =>
      Buffer.from(one)
        .subarray(4, 4 + Buffer.from(one).readUInt32BE())
        .toString(),
    );
    expect(labels).toEqual(['sallyport-push-answer-v1', 'sallyport-push-view-v1', 'sallyport-push-enroll-v1']);
  });
});

describe('a device key', () => {
  const { publicKey, privateKey } = ecKeys();
  const spki = spkiOf(publicKey);
  const message = pushAnswerBytes(ANSWER);

  it('verifies what it signed, and nothing that was bent', () => {
    const key = readDeviceKey(spki);
    const signature = signed(message, privateKey);
    expect(key?.verifies(message, signature)).toBe(true);
    for (const index of [0, 31, 32, 63]) {
      const bent = Uint8Array.from(signature, (byte, at) => (at === index ? byte ^ 1 : byte));
      expect(key?.verifies(message, bent)).toBe(false);
    }
    expect(key?.verifies(pushAnswerBytes({ ...ANSWER, number: '43' }), signature)).toBe(false);
    expect(key?.verifies(message, signed(message, ecKeys().privateKey))).toBe(false);
  });

  it('takes no other form of a signature, and throws at none', () => {
    const key = readDeviceKey(spki);
    const der = sign('sha256', message, privateKey);
    const zeros = new Uint8Array(64);
    const longer = Buffer.concat([signed(message, privateKey), Buffer.alloc(1)]);
    const sha512 = sign('sha512', message, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    for (const wrong of [
      der,
      zeros,
      new Uint8Array(),
      new Uint8Array(63),
      longer,
      sha512,
      new Uint8Array(64).fill(255),
    ])
      expect(key?.verifies(message, wrong)).toBe(false);
  });

  it.each([
    ['an empty one', new Uint8Array()],
    ['P-384', spkiOf(ecKeys('P-384').publicKey)],
    ['secp256k1', spkiOf(ecKeys('secp256k1').publicKey)],
    ['Ed25519', spkiOf(generateKeyPairSync('ed25519').publicKey)],
    ['a point that is not on the curve', Uint8Array.from(spki, (byte, at) => (at === 90 ? byte ^ 1 : byte))],
    ['the point at infinity', Uint8Array.from(spki, (byte, at) => (at > 25 ? 0 : byte))],
    ['a hybrid point', Uint8Array.from(spki, (byte, at) => (at === 26 ? 6 + ((spki[90] ?? 0) & 1) : byte))],
    ['something behind it', new Uint8Array([...spki, 0])],
    ['a private key', new Uint8Array(privateKey.export({ format: 'der', type: 'pkcs8' }))],
  ])('is not taken when it is %s', (_, bytes) => expect(readDeviceKey(bytes)).toBeUndefined());

  it('is told from a compressed point', () => {
    const point = spki.subarray(26);
    expect(isP256Point(point)).toBe(true);
    expect(isP256Point(new Uint8Array([2 + ((point[64] ?? 0) & 1), ...point.subarray(1, 33)]))).toBe(false);
  });
});

describe('a subscription', () => {
  const p256dh = Buffer.from(spkiOf(ecKeys().publicKey).subarray(26)).toString('base64url');
  const auth = Buffer.alloc(16, 7).toString('base64url');
  const endpoint = 'https://fcm.googleapis.com/fcm/send/abc:def';
  const json = (over: Readonly<Record<string, unknown>> = {}) =>
    JSON.stringify({ endpoint, expirationTime: null, keys: { p256dh, auth }, ...over });

  it('is read as browsers write it', () => {
    expect(readSubscription(json())).toEqual({ endpoint, p256dh, auth });
    expect(readSubscription(json({ keys: { p256dh: `${p256dh}=`, auth: `${auth}==` } }))).toMatchObject({ endpoint });
  });

  it.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['a list', '[]'],
    ['no keys', json({ keys: undefined })],
    ['a number as endpoint', json({ endpoint: 7 })],
    ['http', json({ endpoint: endpoint.replace('https', 'http') })],
    ['another scheme', json({ endpoint: 'file:///etc/passwd' })],
    ['no path', json({ endpoint: 'https://fcm.googleapis.com/' })],
    ['a user', json({ endpoint: 'https://fcm.googleapis.com@evil.example/x' })],
    ['a backslash', json({ endpoint: 'https://evil.example\\@fcm.googleapis.com/x' })],
    ['a fragment', json({ endpoint: 'https://evil.example/x#fcm.googleapis.com' })],
    ['a line feed', json({ endpoint: `${endpoint}\nx: y` })],
    ['a tab', json({ endpoint: 'https://fcm.google\tapis.com/x' })],
    ['letters beyond ASCII', json({ endpoint: 'https://ｆcm.googleapis.com/x' })],
    ['capitals in the host', json({ endpoint: 'https://FCM.googleapis.com/x' })],
    ['a port that is the default', json({ endpoint: 'https://fcm.googleapis.com:443/x' })],
    ['an address in another spelling', json({ endpoint: 'https://2130706433/x' })],
    ['a path that climbs', json({ endpoint: 'https://fcm.googleapis.com/a/../b' })],
    ['a long endpoint', json({ endpoint: `${endpoint}${'x'.repeat(1_024)}` })],
    ['a long JSON', `${json()}${' '.repeat(4_096)}`],
    ['a point that is short', json({ keys: { p256dh: p256dh.slice(0, 80), auth } })],
    ['a point off the curve', json({ keys: { p256dh: Buffer.alloc(65, 4).toString('base64url'), auth } })],
    ['an auth of 15 bytes', json({ keys: { p256dh, auth: Buffer.alloc(15).toString('base64url') } })],
    ['an auth in plain base64', json({ keys: { p256dh, auth: '+/+/+/+/+/+/+/+/+/+/+w==' } })],
  ])('with %s is not taken, and says why without the value', (_, text) => {
    const read = readSubscription(text);
    expect(read).toHaveProperty('wrong');
    expect(JSON.stringify(read)).not.toContain('googleapis');
  });

  it('comes back out of what is sealed', () => {
    const publicKey = spkiOf(ecKeys().publicKey);
    const device = readDevice(writeDevice({ endpoint, p256dh, auth }, publicKey));
    expect(device).toMatchObject({ subscription: { endpoint, p256dh, auth }, publicKey });
    expect(() => readDevice(Buffer.from('{}'))).toThrow();
    expect(() => readDevice(writeDevice({ endpoint, p256dh, auth }, new Uint8Array(91)))).toThrow(/no key/);
  });
});

describe('a push number', () => {
  const chance = (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    return new Uint8Array(bytes);
  };

  it('has two digits, or six, and no leading zero', () => {
    expect(pushNumber(chance(0n), 2)).toBe('10');
    expect(pushNumber(chance(89n), 2)).toBe('99');
    expect(pushNumber(chance(90n), 2)).toBe('10');
    expect(pushNumber(chance(2n ** 64n - 1n), 2)).toBe('25');
    expect(pushNumber(chance(0n), 6)).toBe('100000');
    expect(pushNumber(chance(899_999n), 6)).toBe('999999');
    expect(() => pushNumber(new Uint8Array(7), 2)).toThrow(RangeError);
  });

  it('is every one of its ninety as often as the others', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 18_000; index++) {
      const made = pushNumber(createHash('sha256').update(String(index)).digest(), 2);
      counts.set(made, (counts.get(made) ?? 0) + 1);
    }
    expect(counts.size).toBe(90);
    // 200 each on average; five standard deviations to either side.
    for (const count of counts.values()) expect(Math.abs(count - 200)).toBeLessThan(71);
  });

  it('is typed exactly', () => {
    for (const wrong of ['', '4', '042', ' 42', '42\n', '٤٢', '4２', '-1', '1e', '05'])
      expect(isPushNumber(wrong, 2)).toBe(false);
    expect(isPushNumber('42', 2)).toBe(true);
    expect(isPushNumber('42', 6)).toBe(false);
    expect(isPushNumber('424242', 6)).toBe(true);
  });
});

describe('the payload', () => {
  it('names challenge, factor and realm, and is under a kilobyte with the longest realm', () => {
    const payload = pushPayload({ challengeId: ANSWER.challengeId, factorId: ANSWER.factorId, realm: 'r'.repeat(64) });
    expect(JSON.parse(Buffer.from(payload).toString('utf8'))).toEqual({
      v: 1,
      kind: 'approval',
      challenge: ANSWER.challengeId,
      factor: ANSWER.factorId,
      realm: 'r'.repeat(64),
    });
    expect(payload.length).toBeLessThan(1_024);
  });
});
