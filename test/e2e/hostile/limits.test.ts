import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import {
  ChallengeService,
  ChallengeState,
  type VerifyChallengeRequest,
  type VerifyChallengeResponse,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { type HarmWatch, watchHarm } from '../../support/harm-watch.ts';
import { callFields, END_HEADERS, FRAME, FramePeer, hpack, http2Frame } from '../../support/http2-frames.ts';
import { enrolledPerson, openTransfer, type Person, signIn, TRANSFER } from '../../support/people.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { took } from '../../support/running-time.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, totp } from '../../support/step-up.ts';
import { eventually, factOf, trailOf } from '../../support/trail-of.ts';

const { method: rpc } = ChallengeService;
const VERIFY = `${ChallengeService.typeName}/VerifyChallenge`;
const INVALID = 3;
const DEADLINE = 4;
const NOT_FOUND = 5;
const EXHAUSTED = 8;
const UNAVAILABLE = 14;
const OPEN_STREAMS = 'sallyport_rpc_server_open_streams';

type Command = VerifyChallengeRequest['command'];
type Init<T> = T extends { readonly case: infer C; readonly value?: infer V }
  ? { readonly case: C; readonly value: Partial<V> | object }
  : never;

/** Says `commands` on one stream, without waiting between them; what came back, and how it ended. */
async function converse(
  by: GrpcClient,
  commands: readonly Init<Command>[],
  options: {
    readonly halfClose?: boolean;
    /** Called with each event as it comes. */
    readonly told?: (event: VerifyChallengeResponse['event']) => void;
    readonly waitMs?: number;
  } = {},
) {
  const stream = by.bidi(rpc.verifyChallenge);
  const events: VerifyChallengeResponse['event'][] = [];
  let failure: ReturnType<typeof errorInfo> | undefined;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, options.waitMs ?? 30_000);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    stream.on('data', ({ event }) => {
      events.push(event);
      options.told?.(event);
    });
    stream.on('error', (error) => {
      failure ??= errorInfo(error);
      done();
    });
    stream.on('end', done);
    for (const command of commands) stream.write({ command } as never);
    if (options.halfClose) stream.end();
  });
  // An error comes right after the end of the messages.
  await new Promise((resolve) => setTimeout(resolve, 20));
  stream.cancel();
  return { events, failure, cases: events.map((event) => event.case) };
}

const settled = async (sidecar: Sidecar, count: number, timeoutMs: number) => {
  const deadline = Date.now() + timeoutMs;
  let open = await sidecar.metric(OPEN_STREAMS);
  while (open > count && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    open = await sidecar.metric(OPEN_STREAMS);
  }
  return open;
};

describe('the order on a stream', () => {
  let sidecar: Sidecar;
  let client: GrpcClient;
  let person: Person;
  let state: HarmWatch;
  beforeAll(async () => {
    sidecar = await Sidecar.start();
    client = sidecar.client();
    person = await enrolledPerson(client, 'orderly');
    state = await watchHarm(sidecar);
  });
  afterAll(async () => {
    expect(await settled(sidecar, 0, 15_000)).toBe(0);
    await state.unharmed();
    await sidecar[Symbol.asyncDispose]();
  });

  const start = () => ({
    case: 'start' as const,
    value: { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL },
  });
  const guess = (code = '000000') => ({ case: 'answer' as const, value: { proof: totp(code).value } });
  const wrong = () => sidecar.metric('sallyport_proofs_total{method="totp",result="wrong"}');

  it.each([
    ['an answer', () => guess()],
    ['a choice', () => ({ case: 'choose' as const, value: { method: Method.TOTP } })],
    ['a resend', () => ({ case: 'resend' as const, value: {} })],
    ['a cancellation', () => ({ case: 'cancel' as const, value: { reason: '' } })],
  ])('does not begin with %s, and nothing is spent', async (_what, command) => {
    const before = await wrong();
    const { cases, failure } = await converse(client, [command()]);
    expect(cases).toEqual([]);
    expect(failure).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
    expect(await wrong()).toBe(before);
  });

  it('has one beginning', async () => {
    const twice = await converse(client, [start(), start()]);
    expect(twice.failure).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
    const first = twice.events.find((event) => event.case === 'challenge');
    const challengeId = first?.case === 'challenge' ? first.value.id : await openTransfer(client, person);
    const resumed = await converse(client, [
      start(),
      { case: 'resume', value: { challengeId, sessionToken: person.token } },
    ]);
    expect(resumed.failure).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
  });

  it('needs every message to say something, and in its rules', async () => {
    const client2 = sidecar.client();
    const empty = await converse(client2, [{ case: undefined, value: {} } as never]);
    expect(empty.failure).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    const noProof = await converse(client2, [start(), { case: 'answer', value: {} }]);
    expect(noProof.failure).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    const noMethod = await converse(client2, [start(), { case: 'choose', value: {} }]);
    expect(noMethod.failure).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    using raw = new RawGrpc(sidecar.grpcAddress);
    for (const body of [
      frame(Buffer.alloc(0)),
      frame(Buffer.from('ffffff', 'hex')),
      frame(Buffer.alloc(64 * 1024 + 1, 0x61)),
    ]) {
      const stream = await raw.call(VERIFY, body);
      expect([INVALID, EXHAUSTED]).toContain(stream.code);
      expect(['FIELD_INVALID', 'STREAM_ORDER', 'LIMIT_EXCEEDED']).toContain(stream.reason);
    }
  });

  it('resumes nothing that is unknown or of another session', async () => {
    const unknown = {
      case: 'resume' as const,
      value: { challengeId: `chl_${'0'.repeat(26)}`, sessionToken: person.token },
    };
    expect((await converse(client, [unknown, guess()])).failure).toMatchObject({
      code: NOT_FOUND,
      reason: 'CHALLENGE_NOT_FOUND',
    });
    const foreign = await signIn(client, 'foreign');
    const challengeId = await openTransfer(client, person);
    const other = await converse(client, [
      { case: 'resume', value: { challengeId, sessionToken: foreign.token } },
      guess(),
    ]);
    expect(other.failure).toMatchObject({ code: NOT_FOUND, reason: 'CHALLENGE_NOT_FOUND' });
    expect(other.cases).toEqual([]);
    await client.unary(rpc.cancelChallenge, { challengeId, sessionToken: person.token });
  });

  it('takes nothing after the end', async () => {
    const before = await wrong();
    const cancelled = await converse(client, [
      start(),
      { case: 'cancel', value: { reason: 'enough' } },
      guess(),
      guess(),
    ]);
    const { events } = cancelled;
    const last = events.at(-1);
    expect(last?.case === 'finished' ? last.value.challenge?.state : undefined).toBe(ChallengeState.CANCELLED);
    expect(cancelled.cases.filter((name) => name === 'finished')).toHaveLength(1);
    expect(await wrong()).toBe(before);
  });

  it('ends when the caller half-closes before it has said anything, and goes on when it half-closes later', async () => {
    const nothing = await converse(client, [], { halfClose: true });
    expect(nothing.failure).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
    const opened = await openTransfer(client, person);
    const ref = { challengeId: opened, sessionToken: person.token };
    const seen = Promise.withResolvers<void>();
    const following = converse(client, [{ case: 'resume', value: ref }], {
      halfClose: true,
      told: () => seen.resolve(),
    });
    await Promise.race([seen.promise, following]);
    await client.unary(rpc.cancelChallenge, ref);
    const { events, failure } = await following;
    expect(failure).toBeUndefined();
    expect(events.map((event) => event.case)).toEqual(['challenge', 'finished']);
  });

  it('ends after ten seconds without a first message', async () => {
    const { ms, elapsedMs } = await took(async () => {
      const { failure } = await converse(client, []);
      expect(failure).toMatchObject({ code: DEADLINE, reason: 'DEADLINE_EXCEEDED' });
    });
    expect(elapsedMs).toBeGreaterThan(8_000);
    expect(ms).toBeLessThan(13_000);
  });
});

describe('many at once', () => {
  it('holds 2,000 silent streams in bounded memory, refuses more, serves others meanwhile, and frees them all', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_LIMITS_MAX_STREAMS: '2000' } });
    const state = await watchHarm(sidecar);
    const resident = () => sidecar.metric('sallyport_process_resident_memory_bytes');
    const before = await resident();
    const peers = await Promise.all([1, 2, 3].map(() => FramePeer.open(sidecar.ports.grpc)));
    const block = hpack(callFields(`/${VERIFY}`));
    for (const peer of peers) {
      const bytes = Array.from({ length: 700 }, (_, index) =>
        http2Frame(FRAME.HEADERS, END_HEADERS, 2 * index + 1, block),
      );
      peer.socket.write(Buffer.concat(bytes));
    }
    await vi.waitFor(async () => expect(await sidecar.metric(OPEN_STREAMS)).toBe(2_000), { timeout: 9_000 });
    expect((await resident()) - before).toBeLessThan(100 * 1024 * 1024);
    // Who comes on top is told the limit; unary calls of honest people go on.
    const client = sidecar.client();
    const refused = await converse(client, [{ case: 'resume', value: { challengeId: `chl_${'0'.repeat(26)}` } }]);
    expect(refused.failure).toMatchObject({ code: EXHAUSTED, reason: 'LIMIT_EXCEEDED' });
    await signIn(client, 'honest');
    const [event] = await eventually(sidecar, { types: ['limit.hit'] });
    expect(event).toMatchObject({ reason: 'LIMIT_EXCEEDED' });
    expect(await settled(sidecar, 0, 15_000)).toBe(0);
    for (const peer of peers) peer[Symbol.dispose]();
    await state.unharmed(100);
  });

  it('bounds the connections to a listener, and the others stay served', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_LIMITS_MAX_CONNECTIONS: '40' } });
    const client = sidecar.client();
    const { token } = await signIn(client, 'first');
    const sockets = Array.from({ length: 200 }, () => connectTcp({ host: '127.0.0.1', port: sidecar.ports.grpc }));
    let closed = 0;
    for (const socket of sockets) socket.on('error', () => {}).on('close', () => (closed += 1));
    await vi.waitFor(() => expect(closed).toBeGreaterThanOrEqual(160), { timeout: 15_000 });
    await client.unary(SessionService.method.validateSession, { token });
    for (const socket of sockets) socket.destroy();
    // The places of those who left are taken by others as soon as the listener has noticed.
    await vi.waitFor(() => sidecar.client().unary(SessionService.method.validateSession, { token }), {
      timeout: 15_000,
      interval: 100,
    });
    const state = await watchHarm(sidecar);
    await state.unharmed();
  });

  it('bounds the open challenges of one person', async () => {
    await using sidecar = await Sidecar.start();
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'hoarder');
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, () =>
        openTransfer(client, person).then(
          () => 'open',
          (error: unknown) => errorInfo(error).reason,
        ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'open')).toHaveLength(10);
    expect(outcomes.filter((outcome) => outcome === 'LIMIT_EXCEEDED')).toHaveLength(30);
    const [event] = await eventually(sidecar, { subject: 'hoarder', types: ['limit.hit'] });
    expect(factOf(event, 'limit')).toBe('open_challenges');
  });
});

describe('a reader that does not read', () => {
  it('holds a bounded part of a stream, is cut, and harms nobody', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_SESSIONS_CAP: '100' } });
    const client = sidecar.client();
    const labels = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`label-${index}`, 'x'.repeat(256)]));
    for (let index = 0; index < 300; index += 1)
      await client.unary(SessionService.method.createSession, {
        subject: `p${index}`,
        labels,
        client: { userAgent: 'u'.repeat(1_024) },
      });
    const state = await watchHarm(sidecar);
    // SETTINGS_INITIAL_WINDOW_SIZE (4) = 0: not one byte of any answer may be sent.
    using peer = await FramePeer.open(sidecar.ports.grpc, Buffer.from([0, 4, 0, 0, 0, 0]));
    const fields = callFields(`/${AuditService.typeName}/ExportEvents`, [
      ['authorization', `Bearer ${sidecar.operatorToken}`],
    ]);
    for (let index = 0; index < 25; index += 1) {
      peer.send(FRAME.HEADERS, END_HEADERS, 2 * index + 1, hpack(fields));
      peer.send(FRAME.DATA, 1, 2 * index + 1, frame(Buffer.alloc(0)));
    }
    await vi.waitFor(async () => expect(await sidecar.metric(OPEN_STREAMS)).toBe(25), { timeout: 15_000 });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(await sidecar.metric(OPEN_STREAMS)).toBe(25);
    await state.unharmed();
    expect(peer.frames.filter((one) => one.type === FRAME.DATA && one.payload.length > 0)).toEqual([]);
    expect(await settled(sidecar, 0, 40_000)).toBe(0);
    await state.unharmed();
  });

  it('gets no more answers worked out than it takes', async () => {
    await using sidecar = await Sidecar.start();
    const client = sidecar.client();
    const person = await enrolledPerson(client, 'mute');
    const state = await watchHarm(sidecar);
    const stream = client.bidi(rpc.verifyChallenge);
    stream.on('error', () => {});
    stream.write({
      command: {
        case: 'start',
        value: { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL },
      },
    } as never);
    stream.pause();
    let accepted = 0;
    for (let index = 0; index < 20_000; index += 1) {
      if (stream.write({ command: { case: 'choose', value: { method: Method.TOTP } } } as never)) accepted += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await state.unharmed();
    expect(accepted).toBeLessThan(20_000);
    stream.cancel();
    expect(await settled(sidecar, 0, 15_000)).toBe(0);
    const events = await trailOf(sidecar, { subject: 'mute', types: ['challenge.method_chosen'] });
    expect(events.length).toBeLessThanOrEqual(1);
  });
});

describe('floods of refusals', () => {
  it('fold, so that nobody fills the trail with them', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_AUDIT_FOLD_WINDOW: '1s' } });
    const client = sidecar.client();
    const operator = sidecar.operator();
    const trail = async () => (await operator.unary(AuditService.method.queryEvents, { pageSize: 1_000 })).events;
    const before = (await trail()).length;
    const startedAt = performance.now();
    const count = 3_000;
    for (let batch = 0; batch < count / 100; batch += 1)
      await Promise.all(
        Array.from({ length: 100 }, () =>
          client.unary(SessionService.method.createSession, { subject: '' }).catch(() => undefined),
        ),
      );
    const windows = Math.ceil((performance.now() - startedAt) / 1_000) + 1;
    // Each of them is counted, though, when its window is over.
    const events = await vi.waitFor(
      async () => {
        const written = await trail();
        const refused = written.filter((event) => event.type === 'request.refused');
        expect(refused.reduce((sum, event) => sum + Number(event.count), 0)).toBe(count);
        return written;
      },
      { timeout: 15_000, interval: 100 },
    );
    // The first of a window, and how many came after it.
    expect(events.length - before).toBeLessThanOrEqual(2 * windows);
  });

  it('end in no more grants once the trail is full, and the process stays up', async () => {
    await using sidecar = await Sidecar.start({ env: { SALLYPORT_AUDIT_MAX_BYTES: '1MiB' } });
    const client = sidecar.client();
    const agent = { userAgent: 'u'.repeat(1_024) };
    let refused: { code: number; reason: string } | undefined;
    for (let index = 0; index < 3_000 && !refused; index += 20) {
      const batch = await Promise.all(
        Array.from({ length: 20 }, (_, one) =>
          client.unary(SessionService.method.createSession, { subject: `filler-${index + one}`, client: agent }).then(
            () => undefined,
            (error: unknown) => errorInfo(error),
          ),
        ),
      );
      refused = batch.find((outcome) => outcome !== undefined);
    }
    expect(refused).toMatchObject({ code: UNAVAILABLE, reason: 'AUDIT_UNAVAILABLE' });
    // Smaller events may still find a place.
    for (let index = 0; index < 500; index += 1) {
      const last = await client
        .unary(SessionService.method.createSession, { subject: `last-${index}` })
        .catch(errorInfo);
      if ('reason' in last) break;
    }
    const full = 'over-the-brim';
    expect(await signIn(client, full).catch(errorInfo)).toMatchObject({
      code: UNAVAILABLE,
      reason: 'AUDIT_UNAVAILABLE',
    });
    expect((await client.unary(SessionService.method.listSessions, { subject: full })).sessions).toEqual([]);
    expect((await fetch(`${sidecar.adminUrl}/readyz`)).status).toBe(503);
    expect((await fetch(`${sidecar.adminUrl}/livez`)).status).toBe(200);
    // What was granted before is still honoured, and refusals still answer.
    expect(await answer(client, `chl_${'0'.repeat(26)}`, '', totp('000000'))).toMatchObject({
      reason: 'CHALLENGE_NOT_FOUND',
    });
    expect(sidecar.child.exitCode).toBeNull();
  });
});
