import 'reflect-metadata';
import { KeyObject, randomBytes } from 'node:crypto';
import { X509CertificateGenerator } from '@peculiar/x509';
import { verifyRegistrationResponse } from '@simplewebauthn/server';
import { describe, expect, it } from 'vitest';
import { Ceremonies } from '#src/adapters/webauthn/ceremonies.ts';
import type { WebAuthnCredential, WebAuthnRefusal } from '#src/ports/webauthn.ts';
import { type Bend, FLAG, type KeyAlgorithm, SoftwareAuthenticator } from '../../support/software-authenticator.ts';

const RP = { rpId: 'example.com', rpName: 'Example', topOrigins: [] };
const ORIGINS = ['https://app.example.com', 'https://example.co.uk'];
const ceremonies = new Ceremonies({ ...RP, origins: ORIGINS });
const userHandle = new Uint8Array(32).fill(7);
const timeoutMs = 60_000;

type Registering = { readonly key?: SoftwareAuthenticator; readonly bend?: Bend; readonly challenge?: Uint8Array };

async function register({ key = new SoftwareAuthenticator(), bend = {}, challenge }: Registering = {}) {
  const made = randomBytes(32);
  const options = await ceremonies.creationOptions({
    challenge: made,
    userHandle,
    userName: 'ada',
    exclude: [],
    timeoutMs,
  });
  return ceremonies.verifyRegistration({ json: key.register(options, bend), challenge: challenge ?? made });
}

async function registered(key: SoftwareAuthenticator): Promise<WebAuthnCredential> {
  const answer = await register({ key });
  if (answer.outcome === 'refused') throw new Error(answer.refusal);
  return answer.credential;
}

interface Asserting {
  readonly key: SoftwareAuthenticator;
  readonly credential: WebAuthnCredential;
  readonly bend?: Bend;
  readonly challenge?: Uint8Array;
  readonly requireUserVerification?: boolean;
  readonly by?: Ceremonies;
}

async function assert({
  key,
  credential,
  bend,
  challenge,
  requireUserVerification = false,
  by = ceremonies,
}: Asserting) {
  const made = randomBytes(32);
  const options = await by.requestOptions({ challenge: made, allow: [credential], requireUserVerification, timeoutMs });
  const json = key.assert(options, bend);
  return by.verifyAssertion({ json, challenge: challenge ?? made, credential, userHandle, requireUserVerification });
}

const refused = (refusal: WebAuthnRefusal) => ({ outcome: 'refused', refusal });
const flip = (at: number) => (bytes: Uint8Array) => {
  const bent = Uint8Array.from(bytes);
  bent[at < 0 ? bent.length + at : at] = (bent.at(at) ?? 0) ^ 1;
  return bent;
};

/** What is bent in either ceremony, one at a time, and what is said of it. */
const BENT: readonly (readonly [string, WebAuthnRefusal, Bend])[] = [
  ['an origin that is not listed', 'ORIGIN', { clientData: { origin: 'https://evil.example.com' } }],
  ['an origin with another port', 'ORIGIN', { clientData: { origin: 'https://app.example.com:8443' } }],
  ['an origin without TLS', 'ORIGIN', { clientData: { origin: 'http://app.example.com' } }],
  ['an origin that only begins like ours', 'ORIGIN', { clientData: { origin: 'https://app.example.com.evil.net' } }],
  ['an origin in capitals', 'ORIGIN', { clientData: { origin: 'https://APP.example.com' } }],
  ['an origin in a list', 'ORIGIN', { clientData: { origin: ['https://app.example.com'] } }],
  ['no origin', 'ORIGIN', { clientData: { origin: undefined } }],
  ['another challenge', 'CHALLENGE', { clientData: { challenge: randomBytes(32).toString('base64url') } }],
  ['no challenge', 'CHALLENGE', { clientData: { challenge: undefined } }],
  ['an empty challenge', 'CHALLENGE', { clientData: { challenge: '' } }],
  ['no type', 'TYPE', { clientData: { type: undefined } }],
  ['the type of a payment', 'TYPE', { clientData: { type: 'payment.get' } }],
  ['a frame of another site', 'CROSS_ORIGIN', { clientData: { crossOrigin: true } }],
  [
    'a frame of a named site that is not listed',
    'CROSS_ORIGIN',
    { clientData: { crossOrigin: true, topOrigin: 'https://evil.net' } },
  ],
  ['a top origin without a frame', 'CROSS_ORIGIN', { clientData: { topOrigin: 'https://app.example.com' } }],
  ['a frame that is neither true nor false', 'MALFORMED', { clientData: { crossOrigin: 'true' } }],
  ['client data that is no JSON', 'MALFORMED', { clientDataBytes: Buffer.from('{') }],
  ['client data that is no object', 'MALFORMED', { clientDataBytes: Buffer.from('[]') }],
  ['client data that is no UTF-8', 'MALFORMED', { clientDataBytes: Buffer.from('{"type":"\xff"}', 'latin1') }],
  ['another domain', 'RP_ID', { rpId: 'evil.net' }],
  ['a domain above ours', 'RP_ID', { rpId: 'com' }],
  ['nobody present', 'USER_NOT_PRESENT', { flags: FLAG.uv }],
  ['a backup of what cannot be backed up', 'BACKUP_STATE', { flags: FLAG.up | FLAG.uv | FLAG.bs }],
  ['extensions that are not there', 'MALFORMED', { flags: FLAG.up | FLAG.uv | FLAG.ed }],
  ['bytes after the authenticator data', 'MALFORMED', { authenticatorData: (data) => Buffer.concat([data, data]) }],
  ['authenticator data cut short', 'MALFORMED', { authenticatorData: (data) => data.subarray(0, 36) }],
  ['another raw id', 'MALFORMED', { answer: { rawId: 'AAAA' } }],
  ['another type of credential', 'MALFORMED', { answer: { type: 'password' } }],
  ['no response', 'MALFORMED', { answer: { response: undefined } }],
  ['an id with padding', 'MALFORMED', { answer: { id: 'AAA=', rawId: 'AAA=' } }],
  ['an id that is spelled in another way', 'MALFORMED', { answer: { id: 'AAB', rawId: 'AAB' } }],
  ['an id of 1,024 bytes', 'CREDENTIAL_ID', longId(1_024)],
  ['an id that it does not have', 'CREDENTIAL_ID', { answer: { id: 'AAAA', rawId: 'AAAA' } }],
];

function longId(bytes: number): Bend {
  const id = Buffer.alloc(bytes, 1).toString('base64url');
  return { answer: { id, rawId: id } };
}

describe('a registration', () => {
  it.each<KeyAlgorithm>(['ES256', 'EdDSA', 'RS256'])(
    'of a key for %s holds, with and without self attestation',
    async (algorithm) => {
      const key = new SoftwareAuthenticator({ algorithm, flags: FLAG.uv | FLAG.be });
      for (const attestation of ['none', 'self'] as const) {
        expect(await register({ key, bend: { attestation } })).toMatchObject({
          outcome: 'right',
          signCount: 0,
          credential: { id: key.id, transports: ['internal'], backupEligible: true },
        });
      }
    },
  );

  it('holds from every listed origin', async () => {
    for (const origin of ORIGINS)
      expect(await register({ key: new SoftwareAuthenticator({ origin }) })).toMatchObject({ outcome: 'right' });
  });

  it('needs no user verification', async () => {
    expect(await register({ bend: { flags: FLAG.up } })).toMatchObject({ outcome: 'right' });
  });

  it('takes the longest id there may be', async () => {
    const key = new SoftwareAuthenticator({ credentialId: randomBytes(1_023) });
    expect(await register({ key })).toMatchObject({ outcome: 'right', credential: { id: key.id } });
  });

  it('with an id that is longer is refused, though all else agrees', async () => {
    const key = new SoftwareAuthenticator({ credentialId: randomBytes(1_024) });
    expect(await register({ key })).toEqual(refused('CREDENTIAL_ID'));
  });

  it.each(BENT)('with %s is refused: %s', async (_, refusal, bend) => {
    expect(await register({ bend })).toEqual(refused(refusal));
  });

  const OWN: readonly (readonly [string, WebAuthnRefusal, Bend])[] = [
    ['the type of an assertion', 'TYPE', { clientData: { type: 'webauthn.get' } }],
    ['another id in the attested data', 'CREDENTIAL_ID', { attestedId: randomBytes(32) }],
    ['no id in the attested data', 'CREDENTIAL_ID', { attestedId: new Uint8Array() }],
    ['an algorithm that was not asked for', 'ALGORITHM', { coseKey: new Map([[3, -35]]) }],
    ['ML-DSA', 'ALGORITHM', { coseKey: new Map([[3, -48]]) }],
    ['no algorithm', 'ALGORITHM', { coseKey: new Map([[3, undefined]]) }],
    ['an algorithm of another kind of key', 'ALGORITHM', { coseKey: new Map([[3, -257]]) }],
    ['a kind of key of another algorithm', 'ALGORITHM', { coseKey: new Map([[1, 1]]) }],
    ['a curve that does not go with the algorithm', 'ALGORITHM', { coseKey: new Map([[-1, 2]]) }],
    ['half a point', 'ALGORITHM', { coseKey: new Map([[-3, undefined]]) }],
    ['a point of another length', 'ALGORITHM', { coseKey: new Map([[-2, new Uint8Array(33)]]) }],
    ['an attestation that was not asked for', 'ATTESTATION', { format: 'fido-u2f' }],
    ['an attestation of its own making', 'ATTESTATION', { format: 'none', statement: new Map([['x', 1]]) }],
    ['a self attestation without a signature', 'ATTESTATION', { format: 'packed', statement: new Map([['alg', -7]]) }],
    [
      'a self attestation by another algorithm',
      'ATTESTATION',
      { attestation: 'self', statement: new Map([['alg', -257]]) },
    ],
    ['a self attestation with a wrong signature', 'ATTESTATION', { attestation: 'self', signature: flip(-1) }],
    [
      'a self attestation by another key',
      'ATTESTATION',
      { attestation: 'self', signedBy: new SoftwareAuthenticator() },
    ],
    ['certificates that are none', 'ATTESTATION', { attestation: 'self', statement: new Map([['x5c', 0]]) }],
    ['an empty list of certificates', 'ATTESTATION', { attestation: 'self', statement: new Map([['x5c', []]]) }],
    ['an attestation object that is none', 'MALFORMED', { response: { attestationObject: 'AAAA' } }],
    ['no attestation object', 'MALFORMED', { response: { attestationObject: undefined } }],
  ];
  it.each(OWN)('with %s is refused: %s', async (_, refusal, bend) => {
    expect(await register({ bend })).toEqual(refused(refusal));
  });

  it('with an RSA key of another algorithm, or of another kind, is refused', async () => {
    const key = new SoftwareAuthenticator({ algorithm: 'RS256' });
    for (const [label, value] of [
      [3, -258],
      [3, -37],
      [3, -65_535],
      [1, 2],
    ] as const)
      expect(await register({ key, bend: { coseKey: new Map([[label, value]]) } })).toEqual(refused('ALGORITHM'));
  });

  it('with an attestation that holds is refused all the same when its format was not asked for', async () => {
    const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const { rawData } = await X509CertificateGenerator.createSelfSigned({
      name: 'CN=U2F',
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    });
    const u2f = { certificate: new Uint8Array(rawData), key: KeyObject.from(keys.privateKey) };
    const [key, challenge] = [new SoftwareAuthenticator(), randomBytes(32)];
    const json = key.register(JSON.stringify({ challenge: challenge.toString('base64url'), rp: { id: RP.rpId } }), {
      u2f,
    });
    const byLibrary = await verifyRegistrationResponse({
      response: JSON.parse(json),
      expectedChallenge: challenge.toString('base64url'),
      expectedOrigin: key.origin,
      expectedRPID: RP.rpId,
      supportedAlgorithmIDs: [-7],
    });
    expect(byLibrary.verified).toBe(true);
    expect(await ceremonies.verifyRegistration({ json, challenge })).toEqual(refused('ATTESTATION'));
  });

  it('with an RSA key that is too small, or too large to be cheap, is refused', async () => {
    const key = new SoftwareAuthenticator({ algorithm: 'RS256' });
    for (const bytes of [128, 255, 513, 1_024]) {
      const bend = { coseKey: new Map([[-1, new Uint8Array(bytes).fill(0xc1)]]) };
      expect(await register({ key, bend })).toEqual(refused('ALGORITHM'));
    }
    const exponent = { coseKey: new Map([[-2, new Uint8Array(5).fill(1)]]) };
    expect(await register({ key, bend: exponent })).toEqual(refused('ALGORITHM'));
  });

  it('for another challenge is refused', async () => {
    expect(await register({ challenge: randomBytes(32) })).toEqual(refused('CHALLENGE'));
  });

  it('keeps of transports only what looks like one', async () => {
    const transports = [
      'usb',
      'usb',
      '<b>',
      7,
      'x'.repeat(33),
      ...Array.from({ length: 20 }, (_, i) => 'a'.repeat(i + 1)),
    ];
    const answer = await register({ bend: { response: { transports } } });
    if (answer.outcome === 'refused') throw new Error(answer.refusal);
    expect(answer.credential.transports).toHaveLength(8);
    expect(answer.credential.transports.slice(0, 2)).toEqual(['usb', 'a']);
  });
});

describe('an assertion', () => {
  it.each<KeyAlgorithm>(['ES256', 'EdDSA', 'RS256'])('of a key for %s holds', async (algorithm) => {
    const key = new SoftwareAuthenticator({ algorithm });
    const credential = await registered(key);
    expect(await assert({ key, credential })).toEqual({ outcome: 'right', signCount: 1, userVerified: true });
    const bend = { userHandle, signCount: 9, flags: FLAG.up };
    expect(await assert({ key, credential, bend })).toEqual({ outcome: 'right', signCount: 9, userVerified: false });
  });

  it.each(BENT)('with %s is refused: %s', async (_, refusal, bend) => {
    const key = new SoftwareAuthenticator();
    expect(await assert({ key, credential: await registered(key), bend })).toEqual(refused(refusal));
  });

  const OWN: readonly (readonly [string, WebAuthnRefusal, Bend])[] = [
    ['the type of a registration', 'TYPE', { clientData: { type: 'webauthn.create' } }],
    ['a flipped bit of the signature', 'SIGNATURE', { signature: flip(-1) }],
    ['a signature that is none', 'SIGNATURE', { signature: () => Uint8Array.of(1) }],
    ['the signature of another key', 'SIGNATURE', { signedBy: new SoftwareAuthenticator() }],
    ['no signature', 'MALFORMED', { response: { signature: '' } }],
    ['the user handle of somebody else', 'CREDENTIAL_ID', { userHandle: new Uint8Array(32).fill(8) }],
    ['a user handle that is cut', 'CREDENTIAL_ID', { userHandle: userHandle.subarray(0, 31) }],
    ['a user handle that is no text', 'MALFORMED', { response: { userHandle: 7 } }],
    ['eligibility for backup that it did not have', 'BACKUP_STATE', { flags: FLAG.up | FLAG.uv | FLAG.be }],
    ['no authenticator data', 'MALFORMED', { response: { authenticatorData: undefined } }],
  ];
  it.each(OWN)('with %s is refused: %s', async (_, refusal, bend) => {
    const key = new SoftwareAuthenticator();
    expect(await assert({ key, credential: await registered(key), bend })).toEqual(refused(refusal));
  });

  it('by a wrong signature of any algorithm is refused, whether the library throws or says no', async () => {
    for (const algorithm of ['ES256', 'EdDSA', 'RS256'] as const) {
      const key = new SoftwareAuthenticator({ algorithm });
      const credential = await registered(key);
      for (const signature of [flip(0), flip(-1), (bytes: Uint8Array) => bytes.subarray(1), () => new Uint8Array(512)])
        expect(await assert({ key, credential, bend: { signature } })).toEqual(refused('SIGNATURE'));
    }
  });

  it('is bound to what was signed: every byte of it counts', async () => {
    const key = new SoftwareAuthenticator();
    const credential = await registered(key);
    const challenge = randomBytes(32);
    const options = { challenge, allow: [credential], requireUserVerification: false, timeoutMs };
    const answer = JSON.parse(key.assert(await ceremonies.requestOptions(options)));
    const check = (response: object) =>
      ceremonies.verifyAssertion({
        json: JSON.stringify({ ...answer, response: { ...answer.response, ...response } }),
        challenge,
        credential,
        userHandle,
        requireUserVerification: false,
      });
    expect(await check({})).toMatchObject({ outcome: 'right' });
    const data = Buffer.from(answer.response.authenticatorData, 'base64url');
    for (let at = 0; at < data.length; at++) {
      const authenticatorData = Buffer.from(flip(at)(data)).toString('base64url');
      expect(await check({ authenticatorData }), `byte ${at}`).toMatchObject({ outcome: 'refused' });
    }
    const clientData = Buffer.from(answer.response.clientDataJSON, 'base64url').toString('utf8');
    const clientDataJSON = Buffer.from(clientData.replace('{', '{ ')).toString('base64url');
    expect(await check({ clientDataJSON })).toEqual(refused('SIGNATURE'));
  });

  it('without user verification is refused where it is required, and holds elsewhere', async () => {
    const key = new SoftwareAuthenticator({ flags: 0 });
    const credential = await registered(key);
    expect(await assert({ key, credential })).toMatchObject({ outcome: 'right', userVerified: false });
    expect(await assert({ key, credential, requireUserVerification: true })).toEqual(refused('USER_NOT_VERIFIED'));
  });

  it('of a key that is eligible for backup holds, backed up or not, and not once it says otherwise', async () => {
    const key = new SoftwareAuthenticator({ flags: FLAG.uv | FLAG.be });
    const credential = await registered(key);
    const base = FLAG.up | FLAG.uv;
    for (const flags of [base | FLAG.be, base | FLAG.be | FLAG.bs])
      expect(await assert({ key, credential, bend: { flags } })).toMatchObject({ outcome: 'right' });
    expect(await assert({ key, credential, bend: { flags: base } })).toEqual(refused('BACKUP_STATE'));
  });

  it('by a stored key of an algorithm that is not asked for is refused', async () => {
    const key = new SoftwareAuthenticator();
    const credential = await registered(key);
    const es384 = Uint8Array.from(credential.publicKey);
    // The value of label 3 in the encoded COSE key: -7 becomes -8.
    es384[es384.indexOf(0x26)] = 0x27;
    expect(await assert({ key, credential: { ...credential, publicKey: es384 } })).toEqual(refused('ALGORITHM'));
  });

  it('with an empty user handle counts as one without', async () => {
    const key = new SoftwareAuthenticator();
    const credential = await registered(key);
    for (const value of ['', null])
      expect(await assert({ key, credential, bend: { response: { userHandle: value } } })).toMatchObject({
        outcome: 'right',
      });
  });

  it('in a frame holds for listed top origins only', async () => {
    const by = new Ceremonies({ ...RP, origins: ORIGINS, topOrigins: ['https://partner.example'] });
    const key = new SoftwareAuthenticator();
    const credential = await registered(key);
    const framed = (topOrigin?: string) =>
      assert({ key, credential, by, bend: { clientData: { crossOrigin: true, topOrigin } } });
    expect(await framed('https://partner.example')).toMatchObject({ outcome: 'right' });
    expect(await framed('https://partner.example.evil.net')).toEqual(refused('CROSS_ORIGIN'));
    expect(await framed()).toEqual(refused('CROSS_ORIGIN'));
  });
});

describe('what a browser is asked for', () => {
  it('names the pinned algorithms, no attestation, and the credentials that are there', async () => {
    const options = JSON.parse(
      await ceremonies.creationOptions({
        challenge: new Uint8Array(32).fill(1),
        userHandle,
        userName: 'ada',
        exclude: ['AAAA'],
        timeoutMs: 1_234,
      }),
    );
    expect(options).toMatchObject({
      challenge: Buffer.alloc(32, 1).toString('base64url'),
      rp: { id: 'example.com', name: 'Example' },
      user: { id: Buffer.from(userHandle).toString('base64url'), name: 'ada' },
      attestation: 'none',
      timeout: 1_234,
      excludeCredentials: [{ id: 'AAAA', type: 'public-key' }],
      authenticatorSelection: { residentKey: 'discouraged', userVerification: 'preferred' },
    });
    expect(options.pubKeyCredParams.map(({ alg }: { alg: number }) => alg)).toEqual([-8, -7, -257]);
  });

  it('names every key that will do, and whether the user has to be verified', async () => {
    const allow = [
      { id: 'AAAA', transports: ['usb'] },
      { id: 'BBBB', transports: [] },
    ];
    const ask = async (requireUserVerification: boolean) =>
      JSON.parse(
        await ceremonies.requestOptions({ challenge: new Uint8Array(32), allow, requireUserVerification, timeoutMs }),
      );
    expect(await ask(true)).toMatchObject({
      rpId: 'example.com',
      userVerification: 'required',
      timeout: timeoutMs,
      allowCredentials: [
        { id: 'AAAA', transports: ['usb'], type: 'public-key' },
        { id: 'BBBB', transports: [], type: 'public-key' },
      ],
    });
    expect(await ask(false)).toMatchObject({ userVerification: 'preferred' });
  });
});

describe('input of any kind', () => {
  const key = new SoftwareAuthenticator();
  const nested = (byte: number) => Buffer.alloc(11_000, byte).toString('base64url');
  const answer = (response: object) => JSON.stringify({ id: 'AAAA', rawId: 'AAAA', type: 'public-key', response });
  const good = Buffer.from('{"type":"webauthn.create"}').toString('base64url');
  const HOSTILE = [
    '',
    'null',
    '[]',
    '"text"',
    '7',
    '{}',
    '{"__proto__":{"id":"AAAA"}}',
    '{'.repeat(16_000),
    '['.repeat(16_000),
    'x'.repeat(1_000_000),
    `{"id":"${'A'.repeat(16_384)}"}`,
    answer({}),
    answer({ clientDataJSON: '!' }),
    answer({ clientDataJSON: good, attestationObject: nested(0x81) }),
    answer({ clientDataJSON: good, attestationObject: nested(0xa1) }),
    answer({ clientDataJSON: good, authenticatorData: nested(0xff), signature: nested(0) }),
  ];

  it('is refused as malformed and never throws', async () => {
    const credential = await registered(key);
    const challenge = randomBytes(32);
    for (const json of HOSTILE) {
      const registration = await ceremonies.verifyRegistration({ json, challenge });
      expect(registration.outcome, json.slice(0, 40)).toBe('refused');
      const input = { json, challenge, credential, userHandle, requireUserVerification: false };
      expect((await ceremonies.verifyAssertion(input)).outcome, json.slice(0, 40)).toBe('refused');
    }
  });

  it('that nests deeply where CBOR is read is refused', async () => {
    for (const byte of [0x81, 0xa1, 0xd8, 0x9f]) {
      const bend = { response: { attestationObject: nested(byte) } };
      expect(await register({ bend }), String(byte)).toEqual(refused('MALFORMED'));
    }
  });

  it('longer than an answer can be is not parsed, however good it is', async () => {
    const challenge = randomBytes(32);
    const options = await ceremonies.creationOptions({
      challenge,
      userHandle,
      userName: 'ada',
      exclude: [],
      timeoutMs,
    });
    const json = key.register(options);
    const check = (length: number) => ceremonies.verifyRegistration({ json: json.padEnd(length), challenge });
    expect(await check(16_384)).toMatchObject({ outcome: 'right' });
    expect(await check(16_385)).toEqual(refused('MALFORMED'));
  });

  it('names its credential, or nothing where it is unreadable', () => {
    expect(
      ceremonies.credentialIdOf(JSON.stringify({ id: 'AAAA', rawId: 'AAAA', type: 'public-key', response: {} })),
    ).toBe('AAAA');
    for (const json of HOSTILE.slice(0, 11)) expect(ceremonies.credentialIdOf(json)).toBeUndefined();
  });
});
