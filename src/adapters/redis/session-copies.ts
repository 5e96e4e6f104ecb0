import type { Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import { DAY } from '#src/domain/time.ts';
import { keepNewest } from '#src/gen/redis/scripts.js';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { SessionCopies, SessionCopy } from '../shared/contract.ts';
import type { RedisConnection } from './connection.ts';
import type { RedisKeys } from './keys.ts';
import { ORDER_DIGITS, orderOf, outcomeOf } from './replies.ts';
import { SealedRecords } from './sealed-records.ts';

export interface RedisSessionCopiesOptions {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly box: SecretBox;
  readonly clock: Clock;
  /** Longest life of a copy that nobody puts again; a day if left out. */
  readonly longestLifeMs?: DurationMs;
}

/**
 * Copies of sessions by the digest of their token. The position stands in front of the sealed copy, for the script that
 * keeps the newest, and inside it, where it is believed.
 */
export class RedisSessionCopies implements SessionCopies {
  readonly #options: RedisSessionCopiesOptions;
  readonly #records: SealedRecords<readonly [position: number, mark: number, session: Session]>;

  constructor(options: RedisSessionCopiesOptions) {
    this.#options = options;
    this.#records = new SealedRecords({ box: options.box, purpose: 'redis.session' });
  }

  async find(realm: string, tokenDigest: string): Promise<SessionCopy | undefined> {
    const { connection, keys } = this.#options;
    const key = keys.session(realm, tokenDigest);
    const value = await connection.command('get', [key]);
    if (!Buffer.isBuffer(value)) return undefined;
    const record = this.#records.open(value.subarray(ORDER_DIGITS), realm, key);
    if (!record) return undefined;
    const [position, mark, session] = record;
    return { session, position, mark };
  }

  async put(copy: SessionCopy): Promise<void> {
    const { connection, keys, clock, longestLifeMs = DAY } = this.#options;
    const { session, position, mark } = copy;
    const life = Math.min(session.expiresAt - clock.now(), longestLifeMs);
    if (life <= 0) return;
    const key = keys.session(session.realm, session.tokenDigest);
    const sealed = this.#records.seal([position, mark, session], session.realm, key);
    const reply = await connection.script(keepNewest, [key], [orderOf(position), sealed, Math.ceil(life)]);
    outcomeOf(reply, ['kept', 'newer']);
  }

  async drop(realm: string, tokenDigests: readonly string[]): Promise<void> {
    const { connection, keys } = this.#options;
    const drops = tokenDigests.map((digest) => [keys.session(realm, digest)]);
    await connection.each('unlink', drops);
  }
}
