import { type Challenge, isTerminal, type OpenState } from '#src/domain/challenge.ts';
import { MINUTE } from '#src/domain/time.ts';
import { keepNewest } from '#src/gen/redis/scripts.js';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { ChallengeCopies } from '../shared/contract.ts';
import type { RedisConnection } from './connection.ts';
import type { RedisKeys } from './keys.ts';
import { ORDER_DIGITS, orderOf, outcomeOf } from './replies.ts';
import { type ChallengeRecord, challengeOf, challengeRecord, SealedRecords } from './sealed-records.ts';

export interface RedisChallengeCopiesOptions {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly box: SecretBox;
  readonly clock: Clock;
}

const RANK: Readonly<Record<OpenState, number>> = { PENDING: 0, DELIVERED: 1, SEEN: 2 };
/** How long the outcome is still of use to streams that come back. */
const AFTERGLOW_MS = 5 * MINUTE;

/** Copies of challenges by id. An ended one stays ended, the later end counts. */
export class RedisChallengeCopies implements ChallengeCopies {
  readonly #options: RedisChallengeCopiesOptions;
  readonly #records: SealedRecords<ChallengeRecord>;

  constructor(options: RedisChallengeCopiesOptions) {
    this.#options = options;
    this.#records = new SealedRecords({ box: options.box, purpose: 'redis.challenge' });
  }

  async find(realm: string, challengeId: string): Promise<Challenge | undefined> {
    const { connection, keys } = this.#options;
    const key = keys.challenge(realm, challengeId);
    const value = await connection.command('get', [key]);
    if (!Buffer.isBuffer(value)) return undefined;
    const record = this.#records.open(value.subarray(ORDER_DIGITS), realm, key);
    return record && challengeOf(record);
  }

  async put(challenge: Challenge): Promise<void> {
    const { connection, keys, clock } = this.#options;
    const key = keys.challenge(challenge.realm, challenge.id);
    const life = Math.max(0, challenge.expiresAt - clock.now()) + AFTERGLOW_MS;
    const sealed = this.#records.seal(challengeRecord(challenge), challenge.realm, key);
    const reply = await connection.script(keepNewest, [key], [progressOf(challenge), sealed, Math.ceil(life)]);
    outcomeOf(reply, ['kept', 'newer']);
  }
}

/** Open states come before every instant at which one may end. */
function progressOf(challenge: Challenge): string {
  if (!isTerminal(challenge.state)) return orderOf(RANK[challenge.state]);
  return orderOf(Math.max(challenge.settledAt ?? challenge.expiresAt, RANK.SEEN + 1));
}
