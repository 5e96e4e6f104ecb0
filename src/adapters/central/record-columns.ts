import { Buffer } from 'node:buffer';

/** What the database repeats of a record, for searching. */
export interface RecordColumns {
  readonly at: number;
  readonly realm: string;
  readonly type: string;
  readonly outcome: number;
  readonly subjectRef: string;
  readonly challengeId: string;
  readonly sessionId: string;
  readonly factorId: string;
}

/** Numbers of the fields in sallyport.v1.AuditRecord. */
const TYPE = 3;
const OCCURRED_AT = 4;
const REALM = 5;
const SUBJECT_REF = 6;
const OUTCOME = 7;
const CHALLENGE_ID = 11;
const SESSION_ID = 12;
const FACTOR_ID = 13;

/** Of the column. */
const MAX_OUTCOME = 32_767;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const NOTHING: RecordColumns = {
  at: 0,
  realm: '',
  type: '',
  outcome: 0,
  subjectRef: '',
  challengeId: '',
  sessionId: '',
  factorId: '',
};

/**
 * The columns of a record, read straight from its bytes: the flush has to look at every event while others wait for the
 * thread, and decoding whole messages takes several times as long. Never throws: bytes that are no record, or that no text
 * column can hold, give empty columns, and verification tells of them.
 */
export function recordColumns(record: Uint8Array): RecordColumns {
  const reader = new Reader(record);
  const texts: string[] = [];
  const numbers: number[] = [];
  while (reader.more) {
    const tag = reader.varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case VARINT:
        numbers[field] = reader.varint();
        break;
      case LENGTH_DELIMITED:
        if (isWanted(field)) texts[field] = reader.text();
        else reader.skip(reader.varint());
        break;
      case FIXED64:
        reader.skip(8);
        break;
      case FIXED32:
        reader.skip(4);
        break;
      default:
        return NOTHING;
    }
  }
  if (reader.broken || (numbers[OUTCOME] ?? 0) > MAX_OUTCOME) return NOTHING;
  return {
    at: numbers[OCCURRED_AT] ?? 0,
    realm: texts[REALM] ?? '',
    type: texts[TYPE] ?? '',
    outcome: numbers[OUTCOME] ?? 0,
    subjectRef: texts[SUBJECT_REF] ?? '',
    challengeId: texts[CHALLENGE_ID] ?? '',
    sessionId: texts[SESSION_ID] ?? '',
    factorId: texts[FACTOR_ID] ?? '',
  };
}

function isWanted(field: number): boolean {
  return (
    field === TYPE ||
    field === REALM ||
    field === SUBJECT_REF ||
    field === CHALLENGE_ID ||
    field === SESSION_ID ||
    field === FACTOR_ID
  );
}

/** Protobuf wire format. Reading beyond the end, or what is not to be stored, breaks it: then nothing more is to be read. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  broken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get more(): boolean {
    return !this.broken && this.#at < this.#bytes.length;
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.#bytes[this.#at];
      this.#at += 1;
      value += ((byte ?? 0) & 0x7f) * factor;
      if (byte === undefined || value > Number.MAX_SAFE_INTEGER) {
        this.broken = true;
        return 0;
      }
      if (byte < 0x80) return value;
      factor *= 128;
    }
  }

  text(): string {
    const length = this.varint();
    const from = this.#at;
    this.skip(length);
    if (this.broken) return '';
    const text = this.#bytes.toString('utf8', from, this.#at);
    if (text.includes('\0')) this.broken = true;
    return text;
  }

  skip(length: number): void {
    this.#at += length;
    if (this.#at > this.#bytes.length) this.broken = true;
  }
}
