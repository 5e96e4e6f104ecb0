import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { plainText } from '#src/adapters/audit/plain-text.ts';
import { parseRecord } from '#src/adapters/audit/record.ts';
import { encodePersonal, encodeRecord } from '#src/adapters/audit/record-encoding.ts';
import { AuditPersonalSchema, AuditRecordSchema } from '#src/gen/sallyport/v1/audit_pb.js';

const text = fc.oneof(
  fc.constant(''),
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.string({ minLength: 100, maxLength: 400 }),
);
const fields = fc.record({
  version: fc.constant(1),
  id: text,
  type: text,
  occurredAtMs: fc.oneof(fc.nat(), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  realm: text,
  subjectRef: text,
  outcome: fc.integer({ min: 0, max: 4 }),
  reason: text,
  caller: text,
  correlationId: text,
  challengeId: text,
  sessionId: text,
  factorId: text,
  method: fc.integer({ min: 0, max: 5 }),
  actionDigest: text,
  count: fc.oneof(fc.constant(0), fc.nat(), fc.constant(2 ** 40)),
  facts: fc.array(fc.record({ key: text, value: text }), { maxLength: 6 }),
  sealedPersonal: fc.uint8Array({ maxLength: 700 }),
});

it('writes the bytes of the generic encoder for every record', () => {
  fc.assert(
    fc.property(fields, (record) => {
      const { occurredAtMs, count } = record;
      const message = create(AuditRecordSchema, {
        ...record,
        occurredAtMs: BigInt(occurredAtMs),
        count: BigInt(count),
      });
      const bytes = encodeRecord(record);
      expect(Buffer.from(bytes).equals(toBinary(AuditRecordSchema, message))).toBe(true);
      expect(parseRecord(bytes).facts).toHaveLength(record.facts.length);
    }),
    { numRuns: 500 },
  );
});

it('writes the bytes of the generic encoder for personal fields', () => {
  fc.assert(
    fc.property(fc.record({ subject: text, ipAddress: text, userAgent: text }), (personal) => {
      const generic = toBinary(AuditPersonalSchema, create(AuditPersonalSchema, personal));
      expect(Buffer.from(encodePersonal(personal)).equals(generic)).toBe(true);
    }),
  );
});

it('makes any text plain: one line, valid Unicode, within its bytes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 700 }), fc.integer({ min: 16, max: 512 }), (value, maxBytes) => {
      const plain = plainText(value, maxBytes);
      expect(Buffer.byteLength(plain)).toBeLessThanOrEqual(maxBytes);
      expect(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(plain)).toBe(false);
      expect(plain.isWellFormed()).toBe(true);
    }),
    { numRuns: 500 },
  );
});

it('keeps what is plain already, and two different texts different', () => {
  expect(plainText('Mozilla/5.0 (X11; Linux) ünïcödé 日本語')).toBe('Mozilla/5.0 (X11; Linux) ünïcödé 日本語');
  expect(plainText('a\nb')).toBe('a\\u{a}b');
  expect(plainText('a\\u{a}b')).toBe('a\\\\u{a}b');
  expect(plainText('\u202egnp.exe')).toBe('\\u{202e}gnp.exe');
  expect(plainText(undefined)).toBe('');
});
