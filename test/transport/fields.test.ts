import { create, type DescMessage, fromBinary, fromJson, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { QueryEventsRequestSchema, TailEventsRequestSchema } from '#src/gen/sallyport/v1/audit_pb.js';
import {
  AnswerChallengeRequestSchema,
  ChallengePurpose,
  OpenChallengeRequestSchema,
  VerifyChallengeRequestSchema,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { ActionSchema } from '#src/gen/sallyport/v1/common_pb.js';
import { CreateSessionRequestSchema, ListSessionsRequestSchema } from '#src/gen/sallyport/v1/session_pb.js';
import { REQUEST_RULES } from '#src/transport/fields/request-rules.ts';
import { compileValidator } from '#src/transport/fields/validator.ts';
import { methodTable } from '#src/transport/methods.ts';

const challengeId = newId('challenge', new Uint8Array(16));
const action = { resource: 'accounts/42', action: 'transfer.create' };

/** What is wrong with the fields of a message, as `field: description`. */
function faults<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc> | object): string[] {
  return faultsOf(schema, create(schema, init as MessageInitShape<Desc>));
}

function faultsOf(schema: DescMessage, message: object): string[] {
  try {
    compileValidator(schema)(message);
    return [];
  } catch (fault) {
    expect(fault).toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID' });
    return ((fault as Fault).details.violations ?? []).map(({ field, description }) => `${field}: ${description}`);
  }
}

describe('field rules', () => {
  it('cover every request of the API, and name nothing else', () => {
    for (const method of methodTable().values()) expect(() => compileValidator(method.desc.input)).not.toThrow();
  });

  it('do not compile when a text has no rule, or a rule has no field', () => {
    const { subject, ...fields } = REQUEST_RULES['sallyport.v1.ListSessionsRequest']?.fields ?? {};
    expect(() =>
      compileValidator(ListSessionsRequestSchema, { 'sallyport.v1.ListSessionsRequest': { fields } }),
    ).toThrow(/subject needs a field rule/);
    const invented = { ...fields, ...(subject ? { subject, invented: subject } : {}) };
    expect(() =>
      compileValidator(ListSessionsRequestSchema, { 'sallyport.v1.ListSessionsRequest': { fields: invented } }),
    ).toThrow(/invented/);
  });

  it('bound bytes, numbers and instants', () => {
    const push = (length: number) =>
      faults(AnswerChallengeRequestSchema, {
        challengeId,
        step: {
          case: 'proof',
          value: { kind: { case: 'push', value: { signature: new Uint8Array(length) } } },
        },
      });
    expect(push(512)).toEqual([]);
    expect(push(513)).toEqual(['proof.push.signature: must be at most 512 bytes']);
    expect(faults(TailEventsRequestSchema, { backlog: 1_000 })).toEqual([]);
    expect(faults(TailEventsRequestSchema, { backlog: 1_001 })).toEqual(['backlog: must be from 0 to 1000']);
    expect(faults(TailEventsRequestSchema, { backlog: -1 })).toEqual(['backlog: must not be negative']);
    const from = (seconds: bigint, nanos = 0) =>
      faults(QueryEventsRequestSchema, { filter: { startTime: { seconds, nanos } } });
    expect([from(-62_135_596_800n), from(253_402_300_799n, 999_999_999)]).toEqual([[], []]);
    for (const bad of [from(-62_135_596_801n), from(253_402_300_800n), from(0n, -1), from(0n, 1_000_000_000)]) {
      expect(bad).toEqual(['filter.start_time: must be an instant from the year 1 to 9999']);
    }
  });

  it('measure text in bytes', () => {
    expect(faults(CreateSessionRequestSchema, { subject: 'ä'.repeat(64) })).toEqual([]);
    expect(faults(CreateSessionRequestSchema, { subject: 'ä'.repeat(65) })).toEqual([
      'subject: must be at most 128 bytes',
    ]);
  });

  it.each([
    ['a control character', 'a\u0000b'],
    ['a line break', 'a\nb'],
    ['a character that turns the direction of writing', 'a\u202eb'],
    ['half a surrogate pair', 'a\ud800'],
  ])('refuse %s in a subject', (_what, subject) => {
    expect(faults(CreateSessionRequestSchema, { subject })).toHaveLength(1);
  });

  it('name a required field, also a message and a oneof, by its path in the proto', () => {
    expect(faults(CreateSessionRequestSchema, {})).toEqual(['subject: is required']);
    expect(faults(OpenChallengeRequestSchema, { subject: 'alice' })).toEqual([
      'action: is required, except to sign in or to step up a session',
    ]);
    expect(faults(OpenChallengeRequestSchema, { subject: 'alice', action: { resource: 'x' } })).toEqual([
      'action.action: is required',
    ]);
    expect(faults(VerifyChallengeRequestSchema, {})).toEqual(['command: is required']);
    expect(faults(AnswerChallengeRequestSchema, { challengeId })).toEqual(['step: is required']);
    expect(
      faults(VerifyChallengeRequestSchema, {
        command: { case: 'start', value: { subject: 'a', action: { action: 'x' } } },
      }),
    ).toEqual(['start.action.resource: is required']);
  });

  it('ask for no action to sign in, and for a subject where no session says it', () => {
    const login = { purpose: ChallengePurpose.LOGIN };
    expect(faults(OpenChallengeRequestSchema, { ...login, subject: 'alice' })).toEqual([]);
    expect(faults(OpenChallengeRequestSchema, { ...login, sessionToken: 'sps_x' })).toEqual([]);
    expect(faults(OpenChallengeRequestSchema, login)).toEqual(['subject: is required without a session_token']);
  });

  it('let every code through to be counted, up to 64 bytes', () => {
    const answer = (code: string) => ({
      challengeId,
      step: { case: 'proof', value: { kind: { case: 'totp', value: { code } } } },
    });
    for (const code of ['', '12 34 56', '١٢٣٤٥٦', 'abcdef', '0'.repeat(64)]) {
      expect(faults(AnswerChallengeRequestSchema, answer(code))).toEqual([]);
    }
    expect(faults(AnswerChallengeRequestSchema, answer('0'.repeat(65)))).toEqual([
      'proof.totp.code: must be at most 64 bytes',
    ]);
  });

  it('refuse an enum value that this release does not know, also in a list', () => {
    expect(faults(OpenChallengeRequestSchema, { subject: 'a', action, sensitivity: 99 as never })).toEqual([
      'sensitivity: is not a Sensitivity that this release knows',
    ]);
    expect(faults(OpenChallengeRequestSchema, { subject: 'a', action, methods: [1, 77 as never] })).toEqual([
      'methods[1]: is not a Method that this release knows',
    ]);
  });

  it('bound lists and maps', () => {
    const labels = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v']));
    expect(faults(CreateSessionRequestSchema, { subject: 'a', labels })).toEqual([
      'labels: must have at most 16 entries',
    ]);
    expect(faults(CreateSessionRequestSchema, { subject: 'a', labels: { ['k'.repeat(65)]: 'v' } })).toEqual([
      'labels: a key must be at most 64 bytes',
    ]);
    expect(faults(CreateSessionRequestSchema, { subject: 'a', labels: { k: 'v'.repeat(257) } })).toEqual([
      'labels: a value must be at most 256 bytes',
    ]);
    expect(faults(OpenChallengeRequestSchema, { subject: 'a', action, methods: Array(9).fill(1) })).toEqual([
      'methods: must have at most 8 entries',
    ]);
  });

  it('treat `__proto__` and `constructor` as keys like any other', () => {
    const bytes = toBinary(ActionSchema, create(ActionSchema, action));
    const entry = (key: string) => new BinaryWriter().tag(1, 2).string(key).tag(2, 2).string('x').finish();
    const writer = new BinaryWriter().raw(bytes);
    for (const key of ['__proto__', 'constructor', 'k'.repeat(65)]) {
      writer.tag(3, WireType.LengthDelimited).bytes(entry(key));
    }
    const decoded = fromBinary(ActionSchema, writer.finish());
    expect(Object.getPrototypeOf(decoded.details)).toBe(Object.prototype);
    expect(Object.keys(decoded.details)).toEqual(['__proto__', 'constructor', 'k'.repeat(65)]);
    expect(faultsOf(ActionSchema, decoded)).toEqual(['details: a key must be at most 64 bytes']);
    const json = fromJson(ActionSchema, JSON.parse('{"resource":"r","action":"a","details":{"__proto__":"x"}}'));
    expect(Object.keys(json.details)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  it('refuse ids of another kind, malformed request ids and negative page sizes', () => {
    expect(faults(AnswerChallengeRequestSchema, { challengeId: 'ses_1', step: { case: 'resend', value: {} } })).toEqual(
      ['challenge_id: must be a challenge id as this API gave it out'],
    );
    expect(faults(CreateSessionRequestSchema, { subject: 'a', requestId: 'twice' })).toEqual([
      'request_id: must be a UUID',
    ]);
    expect(faults(ListSessionsRequestSchema, { subject: 'a', pageSize: -1 })).toEqual([
      'page_size: must not be negative',
    ]);
    expect(faults(ListSessionsRequestSchema, { subject: 'a', pageSize: 2_000_000_000 })).toEqual([]);
  });

  it('refuse instants that no calendar has', () => {
    expect(faults(QueryEventsRequestSchema, { filter: { startTime: { seconds: 1n << 60n, nanos: 0 } } })).toEqual([
      'filter.start_time: must be an instant from the year 1 to 9999',
    ]);
    expect(faults(QueryEventsRequestSchema, { filter: { types: ['challenge.*'] } })).toEqual([]);
    expect(faults(QueryEventsRequestSchema, { filter: { types: ['challenge.*', 'x y'] } })).toHaveLength(1);
  });

  it('report every broken field, up to a bound, and never what was sent', () => {
    const secret = 'hunter2\u0000';
    const violations = faults(OpenChallengeRequestSchema, {
      subject: secret,
      realm: 'r'.repeat(65),
      audience: secret,
      action: { resource: secret, action: secret, details: { [secret]: secret } },
      requestId: secret,
      methods: Array(9).fill(1),
    });
    expect(violations).toHaveLength(8);
    expect(violations.join()).not.toContain('hunter2');
  });

  it('never throw anything but a Fault, whatever is in a message', () => {
    const validate = compileValidator(CreateSessionRequestSchema);
    fc.assert(
      fc.property(
        fc.record({
          realm: fc.string({ unit: 'binary' }),
          subject: fc.string({ unit: 'binary' }),
          receipt: fc.string(),
          labels: fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' })),
          endSessionIds: fc.array(fc.string()),
          requestId: fc.string(),
        }),
        (init) => {
          try {
            validate(create(CreateSessionRequestSchema, init));
          } catch (error) {
            expect(error).toBeInstanceOf(Fault);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
