import { setTimeout as sleep } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { ChallengeService, VerifyChallengeRequestSchema } from '#src/gen/sallyport/v1/challenge_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { errorInfo, GrpcClient } from '../../support/grpc-client.ts';
import { answer, frame, RawGrpc } from '../../support/raw-grpc.ts';
import { type ServedOptions, serveGrpc } from '../../support/transport.ts';

const VERIFY = 'sallyport.v1.ChallengeService/VerifyChallenge';
const WATCH = 'sallyport.v1.SessionService/WatchRevocations';
const { watchRevocations } = SessionService.method;
const { verifyChallenge } = ChallengeService.method;
/** A grace that nothing here comes to the end of. */
const PATIENCE_MS = 15_000;

async function serve(options: ServedOptions = {}) {
  const { served, server, address } = await serveGrpc(options);
  const client = new GrpcClient(address);
  const raw = new RawGrpc(address);
  const close = async () => {
    client.close();
    raw[Symbol.dispose]();
    await server.drain(0);
  };
  return { served, server, address, client, raw, close };
}

async function all(stream: AsyncIterable<unknown>) {
  const messages: unknown[] = [];
  try {
    for await (const message of stream) messages.push(message);
    return { messages, error: undefined };
  } catch (error) {
    return { messages, error: errorInfo(error) };
  }
}

const abort = (call: CallContext) => new Promise((resolve) => call.signal.addEventListener('abort', resolve));
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
  expect(condition()).toBe(true);
};
const resend = () => ({ command: { case: 'resend' as const, value: {} } });
const heartbeat = { event: { case: 'heartbeat', value: {} } };

describe('streams over gRPC', () => {
  it('carry messages both ways, in order, and end when the caller half-closes', async () => {
    const { client, served, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<{ command: { value: { reason: string } } }>) {
          for await (const { command } of requests) {
            yield { event: { case: 'interrupted', value: { challengeId: command.value.reason } } };
          }
        },
      },
    });
    const stream = client.bidi(verifyChallenge);
    for (let i = 0; i < 50; i++) stream.write({ command: { case: 'cancel', value: { reason: `r${i}` } } });
    stream.end();
    const { messages, error } = await all(stream);
    expect(error).toBeUndefined();
    expect(
      messages.map((one) => (one as { event: { value: { challengeId: string } } }).event.value.challengeId),
    ).toEqual(Array.from({ length: 50 }, (_, i) => `r${i}`));
    expect(served.metrics.streams).toBe(0);
    await close();
  });

  it('let the handler speak first', async () => {
    const { client, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>) {
          yield heartbeat;
          for await (const _ of requests);
        },
      },
    });
    const stream = client.bidi(verifyChallenge);
    stream.once('data', () => stream.end());
    expect((await all(stream)).messages).toHaveLength(1);
    await close();
  });

  it('read no further than the handler does', async () => {
    const taken = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    let decoded = 0;
    const { raw, served, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>) {
          for await (const _ of requests) {
            taken.resolve();
            await release.promise;
            yield heartbeat;
          }
        },
      },
    });
    const endpoint = served.endpoints.get(`/${VERIFY}`);
    const decode = endpoint?.decode.bind(endpoint);
    Object.assign(endpoint ?? {}, {
      decode: (bytes: Uint8Array) => {
        decoded += 1;
        return decode?.(bytes);
      },
    });
    const message = frame(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, resend())));
    const stream = raw.open(VERIFY);
    for (let i = 0; i < 200; i++) stream.write(message);
    await taken.promise;
    await sleep(50);
    // One in hand, one waiting; a frame that came whole may have held a few more, still as bytes.
    expect(decoded).toBeLessThan(200);
    release.resolve();
    stream.end();
    expect(await answer(stream)).toMatchObject({ code: 0 });
    expect(decoded).toBe(200);
    await close();
  });

  it('end with INVALID_ARGUMENT at a message that breaks its rules, and let go of the handler', async () => {
    const ended = Promise.withResolvers<string | undefined>();
    const { client, raw, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>, call: CallContext) {
          try {
            yield heartbeat;
            for await (const _ of requests) yield heartbeat;
          } finally {
            ended.resolve(call.ended);
          }
        },
      },
    });
    const stream = client.bidi(verifyChallenge);
    stream.write(resend());
    stream.write({});
    expect((await all(stream)).error).toMatchObject({ code: 3, reason: 'FIELD_INVALID' });
    expect(await ended.promise).toBe('cancelled');
    const bytes = raw.open(VERIFY);
    bytes.write(frame(Buffer.from([0x0a, 0x7f])));
    expect(await answer(bytes)).toMatchObject({ code: 3, reason: 'FIELD_INVALID' });
    await close();
  });

  it('end a handler that waits for requests when the caller goes away', async () => {
    const thrown = Promise.withResolvers<unknown>();
    const { raw, served, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>) {
          try {
            for await (const _ of requests) yield heartbeat;
          } catch (error) {
            thrown.resolve(error);
            throw error;
          }
        },
      },
    });
    raw.open(VERIFY);
    await until(() => served.metrics.streams === 1);
    raw.session.destroy();
    expect(await thrown.promise).toMatchObject({ reason: 'CANCELLED' });
    await until(() => served.metrics.streams === 0);
    expect([...served.metrics.calls]).toEqual([[`grpc ${VERIFY} CANCELLED`, 1]]);
    await close();
  });

  it('that stay silent end after the time for the first message, however many they are', async () => {
    const { raw, served, close } = await serve({
      limits: { firstMessageMs: 200, maxOpenStreams: 1000 },
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>) {
          for await (const _ of requests) yield heartbeat;
        },
      },
    });
    const streams = Array.from({ length: 300 }, () => raw.open(VERIFY));
    const answers = await Promise.all(streams.map(answer));
    expect(new Set(answers.map(({ code, reason }) => `${code} ${reason}`))).toEqual(new Set(['4 DEADLINE_EXCEEDED']));
    expect(served.pipeline.liveCalls).toBe(0);
    expect(served.metrics.streams).toBe(0);
    await close();
  });

  it('with a first message stay open without more', async () => {
    const { raw, served, close } = await serve({
      limits: { firstMessageMs: 500 },
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>) {
          for await (const _ of requests) yield heartbeat;
        },
      },
    });
    const stream = raw.open(VERIFY);
    stream.write(frame(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, resend()))));
    await sleep(1_200);
    expect(served.metrics.streams).toBe(1);
    stream.end();
    expect(await answer(stream)).toMatchObject({ code: 0 });
    await close();
  });

  it('end at the deadline of the caller', async () => {
    const { raw, close } = await serve({
      handlers: {
        [WATCH]: async function* (_request: unknown, call: CallContext) {
          await abort(call);
          yield {};
        },
      },
    });
    const stream = raw.open(WATCH, { 'grpc-timeout': '60m' });
    stream.end(frame(new Uint8Array()));
    expect(await answer(stream)).toMatchObject({ code: 4, reason: 'DEADLINE_EXCEEDED' });
    await close();
  });

  it('over the cap are refused with the limit, and a place is free again when one ends', async () => {
    const { client, served, close } = await serve({
      limits: { maxOpenStreams: 2 },
      handlers: {
        [WATCH]: async function* (_request: unknown, call: CallContext) {
          yield { cursor: '1' };
          await abort(call);
        },
      },
    });
    const open = [client.serverStream(watchRevocations, {}), client.serverStream(watchRevocations, {})];
    for (const stream of open) stream.on('error', () => {});
    await Promise.all(open.map((stream) => new Promise((resolve) => stream.once('data', resolve))));
    const third = await all(client.serverStream(watchRevocations, {}));
    expect(third.error).toMatchObject({ code: 8, reason: 'LIMIT_EXCEEDED', metadata: { limit: '2' } });
    open[0]?.cancel();
    await until(() => served.metrics.streams === 1);
    const fourth = client.serverStream(watchRevocations, {});
    fourth.on('error', () => {});
    await new Promise((resolve) => fourth.once('data', resolve));
    await close();
  });

  it('over the cap are an event of the trail where they change something', async () => {
    const { raw, served, close } = await serve({ limits: { maxOpenStreams: 0 } });
    expect(await answer(raw.open(VERIFY))).toMatchObject({ code: 8, reason: 'LIMIT_EXCEEDED' });
    expect(served.refusals.events).toMatchObject([{ type: 'limit.hit', reason: 'LIMIT_EXCEEDED', caller: 'grpc' }]);
    await close();
  });

  it('of a reader that does not read hold few messages, end with READER_TOO_SLOW, and free the connection', async () => {
    let pulled = 0;
    const chunk = 'x'.repeat(16 * 1024);
    const finished = Promise.withResolvers<void>();
    const { raw, served, close } = await serve({
      limits: { readerStallMs: 150 },
      handlers: {
        [WATCH]: async function* () {
          try {
            for (;;) {
              pulled += 1;
              yield { cursor: chunk };
            }
          } finally {
            finished.resolve();
          }
        },
      },
    });
    const stream = raw.open(WATCH);
    const closed = new Promise((resolve) => stream.once('close', resolve));
    stream.pause();
    stream.end(frame(new Uint8Array()));
    await finished.promise;
    expect(pulled).toBeLessThan(30);
    expect([...served.metrics.calls]).toEqual([[`grpc ${WATCH} RESOURCE_EXHAUSTED`, 1]]);
    await closed;
    expect(stream.rstCode).toBe(11);
    // The connection still serves others.
    expect(await raw.call('sallyport.v1.SessionService/ValidateSession', frame(new Uint8Array()))).toMatchObject({
      code: 0,
    });
    await close();
  });

  it('are told to end at shutdown, and may say a last word', async () => {
    const waits = Promise.withResolvers<void>();
    const { client, server, close } = await serve({
      handlers: {
        [VERIFY]: async function* (requests: AsyncIterable<unknown>, call: CallContext) {
          void requests;
          yield heartbeat;
          waits.resolve();
          await abort(call);
          if (call.ended === 'shutdown') yield { event: { case: 'interrupted', value: { challengeId: 'chl_1' } } };
        },
      },
    });
    const stream = client.bidi(verifyChallenge);
    const messages = all(stream);
    stream.write(resend());
    await waits.promise;
    const drained = server.drain(PATIENCE_MS);
    const { messages: seen, error } = await messages;
    expect(error).toBeUndefined();
    expect(seen.map((one) => (one as { event: { case: string } }).event.case)).toEqual(['heartbeat', 'interrupted']);
    expect(await drained).toBe(true);
    await close();
  });

  it('that do not end at shutdown are ended for them', async () => {
    const waits = Promise.withResolvers<void>();
    const { client, server, close } = await serve({
      limits: { shutdownGraceMs: 100 },
      handlers: {
        [WATCH]: async function* () {
          yield { cursor: '1' };
          waits.resolve();
          await new Promise(() => {});
        },
      },
    });
    const outcome = all(client.serverStream(watchRevocations, {}));
    await waits.promise;
    expect(await server.drain(PATIENCE_MS)).toBe(true);
    expect((await outcome).error).toMatchObject({ code: 14, reason: 'SHUTTING_DOWN' });
    await close();
  });
});
