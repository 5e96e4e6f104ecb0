import type { SessionChange } from '#src/domain/session.ts';
import type { LogPoint, SessionCopy } from './contract.ts';

/** A part of the log, as a store answers it. */
export interface LogPage {
  readonly entries: readonly SessionChange[];
  readonly oldest: number;
  readonly head: number;
}

/** Higher than any position: changed, but nobody knows yet at which position. */
const UNKNOWN = Number.POSITIVE_INFINITY;

/**
 * What one sidecar knows of one realm's log of session changes, in fixed memory however long the log grows. Sessions
 * share slots by a hash of their id and a slot keeps the last position only, so a copy may be doubted for another
 * session's change, which costs a read, but is never believed against one.
 */
export class ChangeLogView {
  /** The position of the last change, by slot of the session's id. */
  readonly #changed: Float64Array;
  /** Digests of the last entries, by position. */
  readonly #marks: Uint32Array;
  /** Slots that news came of while their position is not known. */
  #heard = new Set<number>();
  /** A copy from before it is not believed; undefined while nothing is known. */
  #from: number | undefined;
  #to = 0;

  /** `slots` is how many there are, and how far back copies may reach; a power of two. */
  constructor(slots: number) {
    if (slots < 1 || (slots & (slots - 1)) !== 0) throw new Error('the number of slots must be a power of two');
    this.#changed = new Float64Array(slots);
    this.#marks = new Uint32Array(slots);
  }

  /** Everything up to here is known. */
  get to(): number {
    return this.#to;
  }

  get isKnown(): boolean {
    return this.#from !== undefined;
  }

  /** What a copy is written with that is read from now on; undefined while it could not be believed. */
  get point(): LogPoint | undefined {
    if (this.#from === undefined || this.#from > this.#to) return undefined;
    return { position: this.#to, mark: this.#markAt(this.#to) };
  }

  /** Whether the copy is as the session is, as far as is known here. */
  believes({ session, position, mark }: SessionCopy): boolean {
    if (this.#from === undefined || position < this.#from || position > this.#to) return false;
    if (this.#to - position >= this.#marks.length || this.#markAt(position) !== mark) return false;
    return (this.#changed[this.#slotOf(session.id)] ?? UNKNOWN) <= position;
  }

  /** News of a change whose position is not known: no copy of the session is believed until `settle`. */
  hear(sessionId: string): void {
    const slot = this.#slotOf(sessionId);
    this.#heard.add(slot);
    this.#changed[slot] = UNKNOWN;
  }

  /** What was heard up to now, for `settle`; to be taken before the log is read. */
  takeHeard(): ReadonlySet<number> {
    const heard = this.#heard;
    this.#heard = new Set();
    return heard;
  }

  /** What was heard before the log was read is in it, if it was read; otherwise it is as if it had just been heard. */
  settle(heard: ReadonlySet<number>, wasRead: boolean): void {
    for (const slot of heard) {
      if (!wasRead) this.#heard.add(slot);
      if (this.#heard.has(slot)) this.#changed[slot] = UNKNOWN;
      else this.#changed[slot] = this.#to;
    }
  }

  /** Believes nothing until `begin`. */
  forget(): void {
    this.#from = undefined;
  }

  /** Forgets all and begins where `page` begins; an empty page is the end of the log. */
  begin(page: LogPage): void {
    this.#changed.fill(0);
    for (const slot of this.#heard) this.#changed[slot] = UNKNOWN;
    this.#marks.fill(0);
    const [first] = page.entries;
    this.#to = first ? first.position - 1 : page.head;
    // What stood there is not known, unless that is the beginning of everything.
    this.#from = this.#to === 0 ? 0 : this.#to + 1;
    for (const entry of page.entries) this.#add(entry);
  }

  /**
   * Takes in a page that was asked for from the entry at `to` on, so that it can be seen to be the same log, and answers
   * what is new. `broken`: entries are missing in between, or it is another log; then nothing was taken in.
   */
  extend(page: LogPage): readonly SessionChange[] | 'broken' {
    const { entries, head, oldest } = page;
    if (this.#from === undefined || head < this.#to || oldest > this.#to + 1) return 'broken';
    const [first] = entries;
    const overlap = this.#to > 0 && oldest <= this.#to ? 1 : 0;
    if (overlap === 1 && first?.position !== this.#to) return 'broken';
    if (overlap === 1 && first && this.#from <= this.#to && markOf(first) !== this.#markAt(this.#to)) return 'broken';
    const fresh = entries.slice(overlap);
    if (fresh.some(({ position }, index) => position !== this.#to + 1 + index)) return 'broken';
    if (fresh.length === 0 && head > this.#to) return 'broken';
    for (const entry of fresh) this.#add(entry);
    return fresh;
  }

  #add(entry: SessionChange): void {
    this.#to = entry.position;
    this.#marks[entry.position % this.#marks.length] = markOf(entry);
    const slot = this.#slotOf(entry.sessionId);
    // What was heard may be another change than this one, further on in the log.
    if (this.#changed[slot] !== UNKNOWN) this.#changed[slot] = entry.position;
  }

  #markAt(position: number): number {
    return position === 0 ? 0 : (this.#marks[position % this.#marks.length] ?? 0);
  }

  #slotOf(sessionId: string): number {
    return fnv1a(sessionId) & (this.#changed.length - 1);
  }
}

function markOf(entry: SessionChange): number {
  return fnv1a(`${entry.sessionId}@${entry.at}`);
}

/** FNV-1a, 32 bits. Ids are random, so nobody can choose whom they share a slot with. */
function fnv1a(text: string): number {
  let hash = 0x81_1c_9d_c5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01_00_01_93);
  return hash >>> 0;
}
