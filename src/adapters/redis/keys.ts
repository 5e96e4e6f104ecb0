import type { KeyedDigest } from '#src/ports/runtime.ts';

/** Stands where the realm stands in keys that belong to all realms; no realm is written so. */
const ALL_REALMS = '+';
/** Grows when what is kept under the keys changes its form: sidecars of two releases then see nothing of each other. */
const SCHEMA = 'v1';

/**
 * All keys and channels: `<prefix>:v1:<realm>:<kind>:…`. Parts are escaped, so that no realm, prefix or id can reach into
 * another's. What names a person, or comes from a caller, is a keyed digest. Keys of one script share their hash tag,
 * which in a Cluster puts them on one node.
 */
export class RedisKeys {
  readonly #prefix: string;
  readonly #digest: KeyedDigest;

  constructor(options: { readonly prefix: string; readonly digest: KeyedDigest }) {
    this.#prefix = escaped(options.prefix);
    this.#digest = options.digest;
  }

  session(realm: string, tokenDigest: string): string {
    return this.#key(realm, 'session', escaped(tokenDigest));
  }

  challenge(realm: string, challengeId: string): string {
    return this.#key(realm, 'challenge', this.#hidden('challenge', realm, challengeId));
  }

  /** There while an end of this session waits to become durable. */
  endedSession(realm: string, sessionId: string): string {
    return this.#key(realm, 'ended', `{${this.#hidden('session', realm, sessionId)}}`);
  }

  /** The same for an end that is good only if the session is this person's. Shares the slot of `endedSession`. */
  endedSessionOf(realm: string, sessionId: string, subject: string): string {
    return `${this.endedSession(realm, sessionId)}:${this.#hidden('subject', realm, subject)}`;
  }

  endedSubject(realm: string, subject: string): string {
    return this.#key(realm, 'ended-subject', this.#hidden('subject', realm, subject));
  }

  /** Name of a session within the notes about its person. */
  exception(realm: string, sessionId: string): string {
    return this.#hidden('session', realm, sessionId);
  }

  pendingOrder(): string {
    return this.#key(undefined, 'pending-ends', '{pending-ends}', 'order');
  }

  pendingEnds(): string {
    return this.#key(undefined, 'pending-ends', '{pending-ends}', 'ends');
  }

  pendingId(id: string): string {
    return this.#hidden('pending-end', '', id);
  }

  probe(number: number): string {
    return this.#key(undefined, 'probe', String(number));
  }

  /** Channel for what becomes of the sessions of a realm. */
  sessionNews(realm: string): string {
    return this.#key(realm, 'news', 'sessions');
  }

  /** Channel of one challenge; whoever follows it knows its id alone. */
  challengeNews(challengeId: string): string {
    return this.#key(undefined, 'news', 'challenge', this.#hidden('challenge', '', challengeId));
  }

  #key(realm: string | undefined, ...rest: readonly string[]): string {
    return [this.#prefix, SCHEMA, realm === undefined ? ALL_REALMS : escaped(realm), ...rest].join(':');
  }

  #hidden(kind: string, realm: string, value: string): string {
    const digest = this.#digest.digest('redis.key', JSON.stringify([kind, realm, value]));
    return Buffer.from(digest.buffer, digest.byteOffset, 24).toString('base64url');
  }
}

/** Leaves letters, digits and `-_.!~*'()`: no `:`, `{`, `}` or `+`. */
function escaped(part: string): string {
  return encodeURIComponent(part);
}
