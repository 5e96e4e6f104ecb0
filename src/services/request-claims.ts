import type { Caller } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';

export interface RequestToClaim {
  readonly realm: string;
  /** The RPC's name; the same for its twin on a stream. */
  readonly method: string;
  readonly caller: Caller;
  /** From the caller; '' asks for no claim. */
  readonly requestId: string;
  /** Everything in the request that makes a difference, in a fixed order. */
  readonly fields: readonly (string | Uint8Array)[];
  /**
   * What the release before did not know, '' where it is not asked for. While all of it is empty the claim is the one of
   * that release, so that a retry finds the first answer when a sidecar of the other release gave it.
   */
  readonly added?: readonly (string | Uint8Array)[];
  readonly seed: string;
}

/**
 * Makes calls repeatable by their request id. Fingerprints are keyed digests: a request may hold a code, which nobody
 * who reads the database shall be able to try out.
 */
export class RequestClaims {
  readonly #clock: Clock;
  readonly #digest: KeyedDigest;
  readonly #ttlMs: DurationMs;

  constructor(deps: {
    readonly clock: Clock;
    readonly digest: KeyedDigest;
    /** How long a request id is remembered. */
    readonly ttlMs: DurationMs;
  }) {
    this.#clock = deps.clock;
    this.#digest = deps.digest;
    this.#ttlMs = deps.ttlMs;
  }

  claim(request: RequestToClaim): RequestClaim | undefined {
    if (request.requestId === '') return undefined;
    const { fields, added = [] } = request;
    const known = lengthPrefixed(fields);
    const all = added.every(({ length }) => length === 0)
      ? known
      : Buffer.concat([known, BORDER, lengthPrefixed(added)]);
    const fingerprint = this.#digest.digest('request.fingerprint', all);
    return {
      key: [request.realm, request.method, request.caller.name, request.requestId].join('\n'),
      fingerprint: Buffer.from(fingerprint).toString('base64url'),
      seed: Buffer.from(request.seed, 'utf8'),
      expiresAt: this.#clock.now() + this.#ttlMs,
    };
  }
}

export function requestIdReused(): Fault {
  return new Fault(
    'invalid',
    'REQUEST_ID_REUSED',
    'request_id: was used before with another request; make a new UUID for each new request',
    { violations: [{ field: 'request_id', description: 'was used before with another request' }] },
  );
}

/** No field has this length. */
const BORDER = Buffer.alloc(4, 0xff);

/** Each part with its length in front, so that no two lists give the same bytes. */
function lengthPrefixed(fields: readonly (string | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}
