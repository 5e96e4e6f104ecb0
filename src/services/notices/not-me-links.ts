import type { EventType } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Notice } from '#src/domain/notice.ts';
import { type DurationMs, type EpochMs, isOver } from '#src/domain/time.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';

/** What a link says. */
export interface NotMeClaims {
  readonly realm: string;
  readonly subject: string;
  readonly noticeId: string;
  readonly type: EventType;
  readonly at: EpochMs;
  /** From then on it opens nothing. */
  readonly expiresAt: EpochMs;
}

/** Longer than any link of ours: a realm and a subject have at most 192 bytes, which JSON and UTF-8 may blow up. */
const MAX_LENGTH = 2_048;
/** Whose link it is stands inside, since whoever follows one says nothing else. */
const BINDING = { purpose: 'notice.not_me', realm: '', subject: '', id: '' } as const;

/** Makes and reads the links in notices by which a person says "this was not me". Sealed: nobody else can make or read one. */
export class NotMeLinks {
  readonly #box: SecretBox;
  readonly #clock: Clock;
  readonly #lifeMs: DurationMs;
  readonly #publicUrl: string;

  constructor(options: {
    readonly box: SecretBox;
    readonly clock: Clock;
    /** From the change that the notice tells of. */
    readonly lifeMs: DurationMs;
    /** Without a slash at its end; '' when there is no public listener: then there are no links. */
    readonly publicUrl: string;
  }) {
    this.#box = options.box;
    this.#clock = options.clock;
    this.#lifeMs = options.lifeMs;
    this.#publicUrl = options.publicUrl;
  }

  /** The token is in the fragment: browsers send that to nobody, so no log on the way has it. */
  urlFor(notice: Pick<Notice, 'id' | 'realm' | 'subject' | 'type' | 'at'>): string {
    if (this.#publicUrl === '') return '';
    const { realm, subject, id, type, at } = notice;
    const plain = Buffer.from(JSON.stringify([realm, subject, id, type, at]), 'utf8');
    return `${this.#publicUrl}/not-me#${Buffer.from(this.#box.seal(plain, BINDING)).toString('base64url')}`;
  }

  /** Undefined for whatever is not a link of ours, and once its time is up. */
  read(token: string): NotMeClaims | undefined {
    if (token === '' || token.length > MAX_LENGTH || !/^[\w-]+$/.test(token)) return undefined;
    const plain = this.#open(token);
    if (plain === undefined) return undefined;
    const [realm, subject, noticeId, type, at] = JSON.parse(plain) as [string, string, string, EventType, EpochMs];
    const expiresAt = at + this.#lifeMs;
    if (isOver(expiresAt, this.#clock.now())) return undefined;
    return { realm, subject, noticeId, type, at, expiresAt };
  }

  #open(token: string): string | undefined {
    try {
      return Buffer.from(this.#box.open(Buffer.from(token, 'base64url'), BINDING)).toString('utf8');
    } catch (error) {
      // Anybody can send anything: no alarm is raised for it.
      if (error instanceof Fault && error.reason === 'INTEGRITY') return undefined;
      throw error;
    }
  }
}
