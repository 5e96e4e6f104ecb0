import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRecord, sealRecord } from '#src/adapters/audit/record.ts';
import { encodeRecord } from '#src/adapters/audit/record-encoding.ts';
import { recordColumns } from '#src/adapters/central/record-columns.ts';
import { AuditRecordSchema } from '#src/gen/sallyport/v1/audit_pb.js';
import { SeededRandom } from '../../support/random.ts';

const EMPTY = {
  at: 0,
  realm: '',
  type: '',
  outcome: 0,
  subjectRef: '',
  challengeId: '',
  sessionId: '',
  factorId: '',
};

/** What the generic decoder reads of the same bytes. */
function slowly(bytes: Uint8Array) {
  const { occurredAtMs, realm, type, outcome, subjectRef, challengeId, sessionId, factorId } = parseRecord(bytes);
  return {
    at: Number(occurredAtMs),
    realm,
    type,
    outcome: Number(outcome),
    subjectRef,
    challengeId,
    sessionId,
    factorId,
  };
}

const text = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((value) => !value.includes('\0'));

describe('the columns of a record', () => {
  it('are what a decoder of messages reads', () => {
    const random = new SeededRandom('columns');
    const draft = fc.record({
      id: text,
      type: fc.constantFrom('challenge.approved', 'session.ended', 'audit.unconfirmed'),
      at: fc.integer({ min: 0, max: 8_640_000_000_000_000 }),
      realm: text,
      subject: text,
      outcome: fc.constantFrom('SUCCESS', 'REFUSED', 'FAILED', 'INFO'),
      reason: text,
      challengeId: text,
      sessionId: text,
      factorId: text,
      userAgent: text,
      count: fc.integer({ min: 0, max: 2 ** 40 }),
      facts: fc.dictionary(text, text, { maxKeys: 4 }),
    });
    fc.assert(
      fc.property(draft, (drawn) => {
        const key = { ref: 'a'.repeat(26), key: random.bytes(32) };
        const bytes = encodeRecord(sealRecord(drawn as Parameters<typeof sealRecord>[0], key, random));
        expect(recordColumns(bytes)).toEqual(slowly(bytes));
      }),
      { numRuns: 300 },
    );
  });

  it('are found among fields of later versions, of every form on the wire', () => {
    const known = toBinary(AuditRecordSchema, create(AuditRecordSchema, { type: 'a', realm: 'b', occurredAtMs: 5n }));
    const unknown = [
      // Field 40: a number; 41: 64 bits; 42: bytes; 43: 32 bits.
      ...[0xc0, 0x02, 0x96, 0x01],
      ...[0xc9, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
      ...[0xd2, 0x02, 3, 9, 9, 9],
      ...[0xdd, 0x02, 1, 2, 3, 4],
    ];
    const bytes = Uint8Array.from([...unknown, ...known, ...unknown]);
    expect(recordColumns(bytes)).toEqual(slowly(bytes));
    expect(recordColumns(bytes)).toEqual({ ...EMPTY, at: 5, realm: 'b', type: 'a' });
  });

  it('are empty for bytes that are no record, and never an error', () => {
    const broken: readonly (readonly number[])[] = [
      [0x1a],
      [0x1a, 5, 97],
      [0x20],
      [0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0x0b, 0x0c],
      [0x1a, 3, 97, 0, 98],
      [0x49, 1, 2],
      // An outcome that the column cannot hold.
      [0x38, 0xff, 0xff, 0xff, 0x0f],
    ];
    for (const bytes of broken) expect(recordColumns(Uint8Array.from(bytes)), String(bytes)).toEqual(EMPTY);
    expect(recordColumns(new Uint8Array())).toEqual(EMPTY);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const columns = recordColumns(bytes);
        expect(Object.values(columns).every((value) => value === '' || !String(value).includes('\0'))).toBe(true);
        expect(Number.isSafeInteger(columns.at)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
