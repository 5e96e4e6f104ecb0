import { Fault } from '#src/domain/faults.ts';
import type { Session } from '#src/domain/session.ts';
import { DAY, type DurationMs, SECOND } from '#src/domain/time.ts';
import { addPendingEnd, listPendingEnds, noteSubjectEnd, removePendingEnd } from '#src/gen/redis/scripts.js';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { PendingEnd, PendingEnds } from '../shared/contract.ts';
import type { RedisConnection } from './connection.ts';
import type { RedisKeys } from './keys.ts';
import { outcomeOf, unexpectedReply } from './replies.ts';
import { SealedRecords } from './sealed-records.ts';

export interface RedisPendingEndsOptions {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly box: SecretBox;
  /** Most ends that wait; further ones are refused. 10,000 if left out. */
  readonly maxEnds?: number;
}

const MAX_ENDS = 10_000;
const MAX_EXCEPTIONS = 32;
/** Longer than any session goes on without the database (`outage.postgres.*`, at most a day). */
const EFFECT_LIFE_MS: DurationMs = 3 * DAY;
/** By how much the clock of the sidecar that began a session may be ahead of the one that ends it. */
const CLOCK_SKEW_MS: DurationMs = 10 * SECOND;

/**
 * An end is first of all an effect: a marker per session, or a note per person. They are only ever added to, so repeats
 * and half-done calls make nothing looser, and they outlive `remove`: a sidecar that still waits for the database needs
 * them, and everybody else finds the same there.
 */
export class RedisPendingEnds implements PendingEnds {
  readonly #options: RedisPendingEndsOptions;
  readonly #records: SealedRecords<PendingEnd>;

  constructor(options: RedisPendingEndsOptions) {
    this.#options = options;
    this.#records = new SealedRecords({ box: options.box, purpose: 'redis.pending-end' });
  }

  async add(end: PendingEnd): Promise<void> {
    const { connection, keys, maxEnds = MAX_ENDS } = this.#options;
    await this.#takeEffect(end);
    const id = keys.pendingId(end.id);
    const sealed = this.#records.seal(end, '', keys.pendingEnds());
    const reply = await connection.script(addPendingEnd, this.#lists(), [id, Math.floor(end.at), sealed, maxEnds]);
    if (outcomeOf(reply, ['added', 'known', 'full']) === 'full')
      throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'too many ends wait for the database; try again later', {
        retryAfterMs: 5 * SECOND,
      });
  }

  async isEnded(session: Pick<Session, 'id' | 'realm' | 'subject' | 'createdAt'>): Promise<boolean> {
    const { connection, keys } = this.#options;
    const { id, realm, subject, createdAt } = session;
    const markers = [keys.endedSession(realm, id), keys.endedSessionOf(realm, id, subject)];
    const [marked, noted] = await Promise.all([
      connection.command('exists', markers),
      connection.command('hgetall', [keys.endedSubject(realm, subject)]),
    ]);
    if (marked !== 0) return true;
    const own = keys.exception(realm, id);
    return entriesOf(noted).some(
      // What is no instant was not written here; it counts as an end.
      ([exception, at]) => exception !== own && !(createdAt > Number(at) + CLOCK_SKEW_MS),
    );
  }

  async list(limit: number): Promise<readonly PendingEnd[]> {
    const { connection, keys } = this.#options;
    const ends: PendingEnd[] = [];
    for (let passed = 0; ends.length < limit; ) {
      const reply = await connection.script(listPendingEnds, this.#lists(), [passed, limit]);
      outcomeOf(reply, ['page']);
      const [, looked, ...page] = reply;
      if (Number(looked) === 0) break;
      passed += Number(looked);
      // One that does not open stays: another sidecar may already have the key that it is sealed under.
      for (const sealed of page) {
        const end = Buffer.isBuffer(sealed) ? this.#records.open(sealed, '', keys.pendingEnds()) : undefined;
        if (end && ends.length < limit) ends.push(end);
      }
    }
    return ends;
  }

  async remove(end: PendingEnd): Promise<void> {
    const { connection, keys } = this.#options;
    const reply = await connection.script(removePendingEnd, this.#lists(), [keys.pendingId(end.id)]);
    outcomeOf(reply, ['removed', 'unknown']);
  }

  #lists(): readonly [string, string] {
    const { keys } = this.#options;
    return [keys.pendingOrder(), keys.pendingEnds()];
  }

  async #takeEffect({ realm, target, at }: PendingEnd): Promise<void> {
    const { connection, keys } = this.#options;
    if (target.kind === 'subject') {
      const exception = target.exceptSessionId === '' ? '' : keys.exception(realm, target.exceptSessionId);
      const args = [exception, Math.floor(at), MAX_EXCEPTIONS, EFFECT_LIFE_MS];
      outcomeOf(await connection.script(noteSubjectEnd, [keys.endedSubject(realm, target.subject)], args), ['noted']);
      return;
    }
    const { subject } = target;
    const marker = (id: string) =>
      subject === undefined ? keys.endedSession(realm, id) : keys.endedSessionOf(realm, id, subject);
    const markers = target.sessionIds.map((id) => [marker(id), '1', 'PX', EFFECT_LIFE_MS]);
    await connection.each('set', markers);
  }
}

/** The driver makes an object of it. Anything else is nothing that could be taken for "no ends". */
function entriesOf(reply: unknown): readonly (readonly [string, string])[] {
  if (typeof reply !== 'object' || reply === null || Array.isArray(reply)) throw unexpectedReply();
  return Object.entries(reply).map(([name, value]) => [name, String(value)]);
}
