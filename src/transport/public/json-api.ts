import type { Fault } from '../../domain/faults.ts';
import { SECOND } from '../../domain/time.ts';
import type { Log } from '../../ports/telemetry.ts';
import { toFault } from '../errors.ts';
import type { Visit } from './contract.ts';
import { json, type PublicReply, type PublicRequest, type Route } from './router.ts';

/** What pages are told when something did not work; the same word for everything that a stranger need not tell apart. */
export type ApiError =
  | 'invalid' // the page sent something that will not do
  | 'foreign' // the request is not from a page of ours
  | 'expired' // the link was used, or its time is up
  | 'refused'
  | 'limited' // later
  | 'unavailable' // now is no good time
  | 'failed'; // our fault; `errorId` finds it in the log

const STATUS: Readonly<Record<ApiError, number>> = {
  invalid: 400,
  foreign: 403,
  refused: 403,
  expired: 410,
  limited: 429,
  failed: 500,
  unavailable: 503,
};

/** A body that is not what the page sends. */
class BodyInvalid extends Error {
  override readonly name = 'BodyInvalid';
}

/** The members of a JSON object; each reader throws where the member is absent or of another form. */
export class JsonFields {
  readonly #members: Readonly<Record<string, unknown>>;

  private constructor(members: Readonly<Record<string, unknown>>) {
    this.#members = members;
  }

  static read(body: Buffer): JsonFields {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    } catch {
      throw new BodyInvalid();
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BodyInvalid();
    return new JsonFields(value as Readonly<Record<string, unknown>>);
  }

  /** Up to `max` UTF-16 units, well-formed. */
  text(name: string, max: number): string {
    const value = this.#member(name);
    if (typeof value !== 'string' || value.length > max || !value.isWellFormed()) throw new BodyInvalid();
    return value;
  }

  /** base64url without padding, of up to `max` bytes. */
  bytes(name: string, max: number): Uint8Array {
    const value = this.text(name, Math.ceil((max * 4) / 3));
    if (!/^[A-Za-z0-9_-]*$/.test(value)) throw new BodyInvalid();
    return new Uint8Array(Buffer.from(value, 'base64url'));
  }

  flag(name: string): boolean {
    const value = this.#member(name);
    if (typeof value !== 'boolean') throw new BodyInvalid();
    return value;
  }

  /** A whole number that is not negative. */
  whole(name: string): number {
    const value = this.#member(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new BodyInvalid();
    return value;
  }

  #member(name: string): unknown {
    return Object.hasOwn(this.#members, name) ? this.#members[name] : undefined;
  }
}

export interface JsonApiOptions {
  /** Of the pages: scheme, host and port as browsers write them. */
  readonly origin: string;
  readonly log: Log;
}

/**
 * Makes routes that our own pages post JSON to. A request from another origin is refused before its body is looked at:
 * browsers name the origin in every POST, and no page can change what they say. Content of this type cannot be posted
 * across origins without a preflight either, which nobody here answers.
 */
export function jsonApi({ origin, log }: JsonApiOptions) {
  return (path: string, run: (visit: Visit, fields: JsonFields) => Promise<unknown>): Route => ({
    path,
    method: 'POST',
    kind: 'api',
    bodyType: 'application/json',
    handle: async (request) => {
      if (!isOwn(request, origin)) return refusal('foreign');
      try {
        return json(200, await run(request.visit, JsonFields.read(request.body)));
      } catch (thrown) {
        if (thrown instanceof BodyInvalid) return refusal('invalid');
        return fromFault(toFault(thrown, path, request.visit.caller.correlationId, log));
      }
    },
  });
}

function isOwn({ headers }: PublicRequest, origin: string): boolean {
  const { origin: from, 'sec-fetch-site': site = 'same-origin' } = headers;
  return from === origin && site === 'same-origin';
}

function refusal(error: ApiError, more: Readonly<Record<string, string>> = {}, retryAfterMs?: number): PublicReply {
  const headers: Record<string, string> =
    retryAfterMs === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / SECOND))) };
  return json(STATUS[error], { error, ...more }, headers);
}

function fromFault(fault: Fault): PublicReply {
  const { retryAfterMs = SECOND, metadata } = fault.details;
  switch (fault.kind) {
    case 'limited':
      return refusal('limited', {}, retryAfterMs);
    case 'unavailable':
    case 'deadline':
    case 'cancelled':
      return refusal('unavailable', {}, retryAfterMs);
    case 'internal':
    case 'data-loss':
    case 'unimplemented':
      return refusal('failed', { errorId: metadata?.['errorId'] ?? '' });
    case 'precondition':
      return refusal(fault.reason === 'ENROLLMENT_EXPIRED' ? 'expired' : 'refused');
    case 'invalid':
      return refusal(fault.reason === 'FIELD_INVALID' ? 'invalid' : 'refused');
    default:
      return refusal('refused');
  }
}
