import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { type CBORType, encodeCBOR } from '@levischuck/tiny-cbor';

export type KeyAlgorithm = 'ES256' | 'EdDSA' | 'RS256';

/** Flags of authenticator data (W3C WebAuthn Level 3 section 6.1). */
export const FLAG = { up: 0x01, uv: 0x04, be: 0x08, bs: 0x10, at: 0x40, ed: 0x80 };

/** What to do otherwise than an honest browser with an honest authenticator. Fields that are undefined are left out. */
export interface Bend {
  /** Over the fields of the client data. */
  readonly clientData?: Readonly<Record<string, unknown>>;
  /** In place of the bytes of the client data. */
  readonly clientDataBytes?: Uint8Array;
  readonly rpId?: string;
  readonly flags?: number;
  readonly signCount?: number;
  /** Over the fields of the answer. */
  readonly answer?: Readonly<Record<string, unknown>>;
  /** Over the fields of its `response`. */
  readonly response?: Readonly<Record<string, unknown>>;
  /** Registration: in the attested data alone. */
  readonly attestedId?: Uint8Array;
  /** Registration: over the parts of the COSE key. */
  readonly coseKey?: ReadonlyMap<number, CBORType | undefined>;
  /** Registration: `self` is a packed statement by the credential's own key. */
  readonly attestation?: 'none' | 'self';
  readonly format?: string;
  /** Over the parts of the attestation statement. */
  readonly statement?: ReadonlyMap<string, CBORType>;
  /** An attestation by a certificate, as U2F has it (W3C WebAuthn Level 3 section 8.6). */
  readonly u2f?: { readonly certificate: Uint8Array; readonly key: KeyObject };
  /** Over authenticator data, before it is signed. */
  readonly authenticatorData?: (data: Uint8Array) => Uint8Array;
  /** Over the signature. */
  readonly signature?: (signature: Uint8Array) => Uint8Array;
  readonly userHandle?: Uint8Array;
  /** Signs the signed bytes in place of the credential's key. */
  readonly signedBy?: SoftwareAuthenticator;
}

export interface SoftwareAuthenticatorOptions {
  readonly algorithm?: KeyAlgorithm;
  readonly origin?: string;
  readonly credentialId?: Uint8Array;
  /** Besides `up`. */
  readonly flags?: number;
  /** Grows by one with each use unless it is `none`, which stays 0. */
  readonly counter?: 'counts' | 'none';
}

const COSE: Readonly<Record<KeyAlgorithm, number>> = { ES256: -7, EdDSA: -8, RS256: -257 };

/** A browser with an authenticator of one credential, written after the specification alone; every field can be bent. */
export class SoftwareAuthenticator {
  readonly algorithm: KeyAlgorithm;
  readonly credentialId: Uint8Array;
  readonly origin: string;
  signCount = 0;
  readonly #flags: number;
  readonly #counts: boolean;
  readonly #private: KeyObject;
  readonly #public: KeyObject;

  constructor(options: SoftwareAuthenticatorOptions = {}) {
    this.algorithm = options.algorithm ?? 'ES256';
    this.credentialId = options.credentialId ?? randomBytes(32);
    this.origin = options.origin ?? 'https://app.example.com';
    this.#flags = FLAG.up | (options.flags ?? FLAG.uv);
    this.#counts = options.counter !== 'none';
    const { privateKey, publicKey } = keyPair(this.algorithm);
    this.#private = privateKey;
    this.#public = publicKey;
  }

  get id(): string {
    return base64url(this.credentialId);
  }

  /** PublicKeyCredentialCreationOptionsJSON to RegistrationResponseJSON. */
  register(optionsJson: string, bend: Bend = {}): string {
    const { challenge, rp } = JSON.parse(optionsJson);
    const clientData = this.#clientData('webauthn.create', challenge, bend);
    const id = bend.attestedId ?? this.credentialId;
    const attested = Buffer.concat([Buffer.alloc(16), uint16(id.length), id, encodeCBOR(this.#coseKey(bend))]);
    const data = this.#authenticatorData(rp.id, FLAG.at, attested, bend);
    const statement = new Map<string, CBORType>();
    if (bend.attestation === 'self') {
      statement.set('alg', COSE[this.algorithm]);
      statement.set('sig', this.#signature(data, clientData, bend));
    }
    if (bend.u2f) {
      statement.set('x5c', [Uint8Array.from(bend.u2f.certificate)]);
      statement.set('sig', Uint8Array.from(sign('sha256', this.#u2fSigned(data, clientData, id), bend.u2f.key)));
    }
    for (const [key, value] of bend.statement ?? []) statement.set(key, value);
    const format = bend.u2f ? 'fido-u2f' : (bend.format ?? (bend.attestation === 'self' ? 'packed' : 'none'));
    const attestationObject = encodeCBOR(
      new Map<string, CBORType>([
        ['fmt', format],
        ['attStmt', statement],
        ['authData', data],
      ]),
    );
    return this.#answer(bend, {
      clientDataJSON: base64url(clientData),
      attestationObject: base64url(attestationObject),
      transports: ['internal'],
    });
  }

  /** PublicKeyCredentialRequestOptionsJSON to AuthenticationResponseJSON. */
  assert(optionsJson: string, bend: Bend = {}): string {
    const { challenge, rpId } = JSON.parse(optionsJson);
    const clientData = this.#clientData('webauthn.get', challenge, bend);
    if (this.#counts) this.signCount += 1;
    const data = this.#authenticatorData(rpId, 0, Buffer.alloc(0), bend);
    return this.#answer(bend, {
      clientDataJSON: base64url(clientData),
      authenticatorData: base64url(data),
      signature: base64url(this.#signature(data, clientData, bend)),
      ...(bend.userHandle ? { userHandle: base64url(bend.userHandle) } : {}),
    });
  }

  #answer(bend: Bend, response: Readonly<Record<string, unknown>>): string {
    return JSON.stringify({
      id: this.id,
      rawId: this.id,
      type: 'public-key',
      clientExtensionResults: {},
      response: { ...response, ...bend.response },
      ...bend.answer,
    });
  }

  #clientData(type: string, challenge: string, bend: Bend): Uint8Array {
    if (bend.clientDataBytes) return bend.clientDataBytes;
    const { origin } = this;
    return Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false, ...bend.clientData }), 'utf8');
  }

  #authenticatorData(rpId: string, flags: number, attested: Uint8Array, bend: Bend): Uint8Array {
    const data = Buffer.concat([
      createHash('sha256')
        .update(bend.rpId ?? rpId, 'utf8')
        .digest(),
      Uint8Array.of((bend.flags ?? this.#flags) | flags),
      uint32(bend.signCount ?? this.signCount),
      attested,
    ]);
    return bend.authenticatorData?.(data) ?? data;
  }

  #signature(data: Uint8Array, clientData: Uint8Array, bend: Bend): Uint8Array {
    const signed = Buffer.concat([data, createHash('sha256').update(clientData).digest()]);
    const signature = (bend.signedBy ?? this).#sign(signed);
    return bend.signature?.(signature) ?? signature;
  }

  #u2fSigned(data: Uint8Array, clientData: Uint8Array, id: Uint8Array): Uint8Array {
    const { x = '', y = '' } = this.#public.export({ format: 'jwk' });
    const point = Buffer.concat([Uint8Array.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
    const hash = createHash('sha256').update(clientData).digest();
    return Buffer.concat([Uint8Array.of(0), data.subarray(0, 32), hash, id, point]);
  }

  #sign(bytes: Uint8Array): Uint8Array {
    return sign(this.algorithm === 'EdDSA' ? null : 'sha256', bytes, this.#private);
  }

  #coseKey(bend: Bend): Map<number, CBORType> {
    const jwk = this.#public.export({ format: 'jwk' });
    const part = (value: string | undefined) => Uint8Array.from(Buffer.from(value ?? '', 'base64url'));
    const key = new Map<number, CBORType>([[3, COSE[this.algorithm]]]);
    if (this.algorithm === 'ES256') key.set(1, 2).set(-1, 1).set(-2, part(jwk.x)).set(-3, part(jwk.y));
    else if (this.algorithm === 'EdDSA') key.set(1, 1).set(-1, 6).set(-2, part(jwk.x));
    else key.set(1, 3).set(-1, part(jwk.n)).set(-2, part(jwk.e));
    for (const [label, value] of bend.coseKey ?? []) {
      if (value === undefined) key.delete(label);
      else key.set(label, value);
    }
    return key;
  }
}

function keyPair(algorithm: KeyAlgorithm) {
  if (algorithm === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  if (algorithm === 'EdDSA') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}

function uint16(value: number): Uint8Array {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
