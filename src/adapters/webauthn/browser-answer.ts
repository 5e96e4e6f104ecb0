import { demand, Refused } from './refused.ts';

/**
 * Longest answer of a browser in characters: room for the longest credential id, an RSA key and a certificate. What is
 * longer is not parsed.
 */
export const MAX_ANSWER = 16_384;
/** W3C WebAuthn Level 3 section 4, credential id. */
const MAX_CREDENTIAL_ID = 1_023;
const MAX_TRANSPORTS = 8;

/** What both ceremonies bring (RegistrationResponseJSON and AuthenticationResponseJSON, section 5.1). */
interface BrowserAnswer {
  /** base64url. */
  readonly id: string;
  /** base64url of the bytes that the authenticator signed a hash of. */
  readonly clientDataJSON: string;
}

export interface RegistrationAnswer extends BrowserAnswer {
  readonly attestationObject: string;
  readonly transports: readonly string[];
}

export interface AssertionAnswer extends BrowserAnswer {
  readonly authenticatorData: string;
  readonly signature: string;
  /** Undefined when the authenticator gives none. */
  readonly userHandle: Uint8Array | undefined;
}

type Fields = Readonly<Record<string, unknown>>;

/** Throws Refused: MALFORMED, CREDENTIAL_ID. Strict in its form, so that nothing is read in two ways. */
export function readRegistration(json: string): RegistrationAnswer {
  const { id, response } = readAnswer(json);
  return {
    id,
    clientDataJSON: base64url(response['clientDataJSON']),
    attestationObject: base64url(response['attestationObject']),
    transports: transportsOf(response['transports']),
  };
}

/** Throws Refused: MALFORMED, CREDENTIAL_ID. */
export function readAssertion(json: string): AssertionAnswer {
  const { id, response } = readAnswer(json);
  const handle = response['userHandle'];
  return {
    id,
    clientDataJSON: base64url(response['clientDataJSON']),
    authenticatorData: base64url(response['authenticatorData']),
    signature: base64url(response['signature']),
    // Some clients write '' for none.
    userHandle:
      handle === undefined || handle === null || handle === ''
        ? undefined
        : Buffer.from(base64url(handle), 'base64url'),
  };
}

/** The credential id of either answer; undefined when it is unreadable. */
export function readCredentialId(json: string): string | undefined {
  try {
    return readAnswer(json).id;
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

function readAnswer(json: string): { readonly id: string; readonly response: Fields } {
  demand(json.length <= MAX_ANSWER, 'MALFORMED');
  const answer = object(parse(json));
  const id = base64url(answer['id']);
  demand(answer['rawId'] === id, 'MALFORMED');
  demand(answer['type'] === 'public-key', 'MALFORMED');
  demand(Buffer.byteLength(id, 'base64url') <= MAX_CREDENTIAL_ID, 'CREDENTIAL_ID');
  return { id, response: object(answer['response']) };
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new Refused('MALFORMED');
  }
}

function object(value: unknown): Fields {
  demand(typeof value === 'object' && value !== null && !Array.isArray(value), 'MALFORMED');
  return { ...value };
}

/** Not empty, without padding, and the only spelling of its bytes. */
function base64url(value: unknown): string {
  demand(typeof value === 'string' && value !== '', 'MALFORMED');
  demand(Buffer.from(value, 'base64url').toString('base64url') === value, 'MALFORMED');
  return value;
}

/** Hints for the browser and nothing more, so what is unknown is left out. */
function transportsOf(value: unknown): readonly string[] {
  if (!Array.isArray(value)) return [];
  const named = value.filter((one): one is string => typeof one === 'string' && /^[a-z-]{1,32}$/.test(one));
  return [...new Set(named)].slice(0, MAX_TRANSPORTS);
}

/** The object that the signed bytes of `clientDataJSON` spell. Throws Refused MALFORMED. */
export function readClientData(clientDataJSON: string): Fields {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(clientDataJSON, 'base64url'));
    return object(parse(text));
  } catch {
    throw new Refused('MALFORMED');
  }
}
