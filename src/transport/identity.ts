import { createHash, timingSafeEqual } from 'node:crypto';
import type { Caller, Role } from '../domain/caller.ts';
import { Fault } from '../domain/faults.ts';

/** The metadata key that every call must carry, with any value: what a browser or a forged request cannot add. */
export const CLIENT_HEADER = 'x-sallyport-client';

/** The header that finds a call again in log and trail: taken from the caller if it sends a usable one, and always answered. */
export const REQUEST_ID_HEADER = 'x-request-id';

/** The header of every answer while the sidecar is degraded: names of what is away, as `redis,postgres`. */
export const DEGRADED_HEADER = 'sallyport-degraded';

/** What a caller's own request id may look like, so that it can stand in logs and events as it is. */
export function usableRequestId(value: string | undefined): value is string {
  return value !== undefined && /^[A-Za-z0-9._:-]{1,64}$/.test(value);
}

/** Made once per operator token; holds its digest only. */
export type TokenCheck = (presented: string) => boolean;

/** Compares in constant time, whatever the lengths. An empty token matches nothing. */
export function tokenCheck(token: string | Uint8Array): TokenCheck {
  const expected = sha256(token);
  return token.length === 0 ? () => false : (presented) => timingSafeEqual(sha256(presented), expected);
}

export interface ListenerOptions {
  /** Stable name, part of bindings and of the trail: `grpc`, `http`. */
  readonly name: string;
  /** What everybody who can reach the listener may do; the usual set on loopback is application and gateway. */
  readonly roles: ReadonlySet<Role>;
  /** Adds the operator role to a call that shows the token; absent means that no token is accepted here. */
  readonly operatorToken?: TokenCheck;
}

/**
 * Who a call comes from: what its listener grants to everybody, and more for those who show a credential. Certificate
 * names will join here. Nothing else in a request's metadata says who the caller is.
 */
export class Listener {
  readonly name: string;
  readonly #roles: ReadonlySet<Role>;
  readonly #operatorName: string;
  readonly #operatorRoles: ReadonlySet<Role>;
  readonly #operatorToken: TokenCheck;

  constructor(options: ListenerOptions) {
    this.name = options.name;
    this.#roles = options.roles;
    this.#operatorName = `${options.name}/operator`;
    this.#operatorRoles = new Set([...options.roles, 'operator']);
    this.#operatorToken = options.operatorToken ?? (() => false);
  }

  /** The caller before any credential is looked at. */
  anonymous(correlationId: string): Caller {
    return { roles: this.#roles, name: this.name, correlationId };
  }

  /**
   * `authorization` holds every value of the header as it came. Throws Fault(unauthenticated, CALLER_UNKNOWN) if something
   * was presented that is not exactly one valid credential.
   */
  identify(authorization: readonly string[], correlationId: string): Caller {
    if (authorization.length === 0) return this.anonymous(correlationId);
    const [value = ''] = authorization;
    const token = /^bearer ([^\s,]+)$/i.exec(value)?.[1];
    if (authorization.length > 1 || token === undefined || !this.#operatorToken(token)) {
      throw new Fault(
        'unauthenticated',
        'CALLER_UNKNOWN',
        'authorization: not a credential of this listener; send one `Bearer` operator token, or leave it out',
      );
    }
    return { roles: this.#operatorRoles, name: this.#operatorName, correlationId };
  }
}

function sha256(value: string | Uint8Array): Buffer {
  return createHash('sha256').update(value).digest();
}
