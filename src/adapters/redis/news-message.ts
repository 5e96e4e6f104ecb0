import type { EpochMs } from '#src/domain/time.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { EndNews } from '../shared/contract.ts';
import { type ChallengeRecord, SealedRecords } from './sealed-records.ts';

export type NewsMessage =
  | { readonly kind: 'ended'; readonly ends: readonly EndNews[] }
  | { readonly kind: 'changed'; readonly sessionIds: readonly string[]; readonly at: EpochMs }
  | { readonly kind: 'challenge'; readonly challenge: ChallengeRecord };

/** First byte; another one is another release's. */
const LAYOUT = 1;
export const SENDER_BYTES = 8;

/**
 *     layout (1 byte, 1) · sender (8 bytes) · sealed message, bound to its channel
 *
 * The sender stands outside, so that nobody opens what they said themselves.
 */
export class NewsMessages {
  readonly #head: Buffer;
  readonly #records: SealedRecords<NewsMessage>;

  constructor(options: { readonly box: SecretBox; readonly sender: Uint8Array }) {
    this.#head = Buffer.from([LAYOUT, ...options.sender]);
    this.#records = new SealedRecords({ box: options.box, purpose: 'redis.news' });
  }

  write(message: NewsMessage, channel: string): Buffer {
    return Buffer.concat([this.#head, this.#records.seal(message, '', channel)]);
  }

  /** `own` for what this sidecar said; undefined for what is no message, or not for this channel. */
  read(bytes: Buffer, channel: string): NewsMessage | 'own' | undefined {
    if (bytes.length <= this.#head.length || bytes[0] !== LAYOUT) return undefined;
    if (this.#head.equals(bytes.subarray(0, this.#head.length))) return 'own';
    return this.#records.open(bytes.subarray(this.#head.length), '', channel);
  }
}
