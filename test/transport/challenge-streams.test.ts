import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it, vi } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import {
  ChallengePurpose,
  ChallengeState,
  DeliveryStatus,
  RefusalReason,
  VerifyChallengeRequestSchema,
  type VerifyChallengeResponseSchema,
  WatchChallengeRequestSchema,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { challengeHandlers } from '#src/transport/handlers/challenges.ts';
import {
  APP,
  type ChallengeWorld,
  challengeWorld,
  factorOf,
  OTHER_APP,
  openCommand,
  PORTAL,
  REALM,
  refOf,
  totp,
  type WorldOptions,
} from '../support/challenge-world.ts';
import { settle } from '../support/clock.ts';

type Request = MessageInitShape<typeof VerifyChallengeRequestSchema>;
type Response = MessageInitShape<typeof VerifyChallengeResponseSchema>;

const ACTION = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };
const START: Request = {
  command: { case: 'start', value: { subject: 'ann', action: ACTION, sensitivity: Sensitivity.CRITICAL } },
};
const answer = (code: string, requestId = ''): Request => ({
  command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: { code } } }, requestId } },
});
const resume = (challengeId: string): Request => ({ command: { case: 'resume', value: { challengeId } } });

/** A call whose end the test decides. */
class TestCall implements CallContext {
  readonly protocol = 'grpc';
  readonly procedure = '/sallyport.v1.ChallengeService/VerifyChallenge';
  readonly #controller = new AbortController();
  ended: CallContext['ended'];
  readonly caller: Caller;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  remainingMs(): number {
    return Number.POSITIVE_INFINITY;
  }

  end(cause: 'cancelled' | 'deadline' | 'shutdown'): void {
    this.ended = cause;
    this.#controller.abort();
  }
}

/** What a client sends, message by message. */
class Outgoing implements AsyncIterable<ReturnType<typeof message>> {
  readonly #queue: (ReturnType<typeof message> | undefined)[] = [];
  #resume: (() => void) | undefined;
  pulled = 0;
  returned = false;

  send(...requests: readonly Request[]): void {
    this.#queue.push(...requests.map(message));
    this.#resume?.();
  }

  halfClose(): void {
    this.#queue.push(undefined);
    this.#resume?.();
  }

  [Symbol.asyncIterator](): AsyncIterator<ReturnType<typeof message>> {
    return {
      next: async () => {
        while (this.#queue.length === 0) {
          await new Promise<void>((resolve) => {
            this.#resume = resolve;
          });
        }
        this.pulled += 1;
        const next = this.#queue.shift();
        return next ? { done: false, value: next } : { done: true, value: undefined };
      },
      return: async () => {
        this.returned = true;
        return { done: true, value: undefined };
      },
    };
  }
}

function message(init: Request) {
  return create(VerifyChallengeRequestSchema, init);
}

function openStream(
  world: ChallengeWorld,
  {
    caller = APP,
    sidecar = world as Pick<ChallengeWorld, 'challenges' | 'verification' | 'redemption' | 'watches' | 'timer'>,
  } = {},
) {
  const handlers = challengeHandlers({ ...sidecar, realms: { names: new Set([REALM]), defaultRealm: REALM } });
  const call = new TestCall(caller);
  const outgoing = new Outgoing();
  const received: Response[] = [];
  const stream = handlers.verifyChallenge(outgoing, call)[Symbol.asyncIterator]();
  const state = { done: false, error: undefined as unknown };
  const pull = async () => {
    try {
      for (;;) {
        const next = await stream.next();
        if (next.done) break;
        received.push(next.value);
      }
    } catch (error) {
      state.error = error;
    }
    state.done = true;
  };
  return { call, outgoing, received, state, stream, pull, cases: () => received.map(({ event }) => event?.case) };
}

async function read(world: ChallengeWorld, over: Parameters<typeof openStream>[1] = {}) {
  const opened = openStream(world, over);
  void opened.pull();
  await settle();
  return opened;
}

const started = async (options: WorldOptions = {}) => {
  const world = challengeWorld(options);
  world.expiry.start();
  const one = await read(world);
  one.outgoing.send(START);
  await soon(() => expect(one.received).not.toHaveLength(0));
  await rest();
  const first = one.received[0]?.event;
  if (first?.case !== 'challenge') throw new Error('the challenge comes first');
  return { world, ...one, challengeId: first.value.id ?? '' };
};

/** Until it holds. What signs does so on another thread, which may take a while on a busy machine. */
const soon = (check: () => void) => vi.waitFor(check, { timeout: 15_000, interval: 5 });

/** Waits for the last message; it is signed on another thread. */
const finish = ({ cases, state }: Pick<ReturnType<typeof openStream>, 'cases' | 'state'>) =>
  soon(() => expect([cases().at(-1), state.done]).toEqual(['finished', true]));

/** Lets everything that is under way come to rest. */
async function rest() {
  for (let i = 0; i < 12; i++) await settle();
}

describe('a VerifyChallenge stream', () => {
  it('tells each piece of word of what was sent, although the state stays the same', async () => {
    const world = challengeWorld({ policy: { methods: ['totp', 'sms'] } });
    world.factors.push(factorOf('sms'));
    const { challenge } = await world.challenges.open(APP, openCommand({ sensitivity: 'sensitive', method: 'sms' }));
    const one = await read(world);
    one.outgoing.send(resume(challenge.id));
    await soon(() => expect(one.received).toHaveLength(1));
    const delivery = { id: 'dlv_1', method: 'sms', factorId: 'fac_sms', resendable: true, at: 1_500 } as const;
    await world.deliveries.note(challenge, { ...delivery, status: 'QUEUED', reason: '' });
    await soon(() => expect(one.received).toHaveLength(2));
    await world.deliveries.note(challenge, { ...delivery, status: 'FAILED', reason: 'PROVIDER_DOWN' });
    await soon(() => expect(one.received).toHaveLength(3));
    expect(one.received.at(-1)).toMatchObject({
      event: {
        case: 'challenge',
        value: {
          state: ChallengeState.PENDING,
          delivery: { status: DeliveryStatus.FAILED, reason: 'PROVIDER_DOWN', instead: [Method.TOTP] },
        },
      },
    });
    one.call.end('cancelled');
  });

  it('does not take the token of a trusted device, which could not be answered there, and leaves it unspent', async () => {
    const world = challengeWorld();
    world.devices.nextOf.set('ann old', 'new');
    const one = await read(world);
    const login = { subject: 'ann', purpose: ChallengePurpose.LOGIN, trustedDeviceToken: 'old' };
    one.outgoing.send({ command: { case: 'start', value: login } });
    await soon(() => expect(one.state.done).toBe(true));
    expect(one.state.error).toMatchObject({ reason: 'FIELD_INVALID' });
    expect(world.devices.asked).toEqual([]);
    expect(world.state.challenges.size).toBe(0);
  });

  it('sends the challenge, a refusal that leaves it open, and one finished with the receipt', async () => {
    const { world, outgoing, received, state, cases } = await started();
    outgoing.send(answer('wrong'));
    await rest();
    outgoing.send(answer('right-1'));
    await finish({ cases, state });
    expect(cases()).toEqual(['challenge', 'refused', 'finished']);
    expect(received[1]?.event?.value).toMatchObject({ attemptsLeft: 4, reason: RefusalReason.PROOF_WRONG });
    expect(received[2]?.event?.value).toMatchObject({
      challenge: { state: ChallengeState.APPROVED, provenMethod: Method.TOTP },
      receipt: { token: expect.stringMatching(/^ey/) },
    });
    expect(state).toEqual({ done: true, error: undefined });
    expect(outgoing.returned).toBe(true);
    expect(world.watches.open).toBe(0);
  });

  it('shows an approval that needed no proof as it stands, and finishes', async () => {
    const { cases, state } = await started({ policy: { mfaEnabled: false } });
    await finish({ cases, state });
    expect(cases()).toEqual(['challenge', 'finished']);
    expect(state.done).toBe(true);
  });

  it('prompts for a method that is chosen, at once or later, and shows the choice', async () => {
    const { outgoing, received, cases } = await started();
    outgoing.send({ command: { case: 'choose', value: { method: Method.TOTP } } });
    await rest();
    expect(cases().slice(1).sort()).toEqual(['challenge', 'prompt']);
    const prompt = received.find(({ event }) => event?.case === 'prompt')?.event?.value;
    expect(prompt).toMatchObject({ method: Method.TOTP, factorId: 'fac_totp' });

    const world = challengeWorld();
    const other = await read(world);
    other.outgoing.send({
      command: { case: 'start', value: { ...START.command?.value, method: Method.TOTP } },
    } as Request);
    await rest();
    expect(other.cases()).toEqual(['challenge', 'prompt']);
  });

  it('ends CANCELLED when the caller gives up', async () => {
    const { world, outgoing, received, state } = await started();
    outgoing.send({ command: { case: 'cancel', value: { reason: 'left' } } });
    await rest();
    expect(received.at(-1)?.event).toMatchObject({
      case: 'finished',
      value: { challenge: { state: ChallengeState.CANCELLED } },
    });
    expect(state.done).toBe(true);
    expect(world.eventsOf('challenge.cancelled')).toHaveLength(1);
  });

  it('works through messages that come all at once, in order', async () => {
    const { outgoing, cases, state, world } = await started();
    outgoing.send(answer('wrong'), answer('wrong2'), answer('right-1'), answer('right-2'));
    outgoing.halfClose();
    await finish({ cases, state });
    expect(cases()).toEqual(['challenge', 'refused', 'refused', 'finished']);
    expect(world.checker.evaluated).toBe(3);
  });

  it('goes on to a caller that half-closed', async () => {
    const { world, outgoing, cases, state, challengeId } = await started();
    outgoing.halfClose();
    await rest();
    expect(cases()).toEqual(['challenge']);
    await world.verification.answer(APP, {
      realm: REALM,
      challengeId,
      sessionToken: '',
      proof: totp('right-1'),
      requestId: '',
    });
    await finish({ cases, state });
    expect(cases()).toEqual(['challenge', 'finished']);
  });

  it('tells every stream of one challenge, whichever sidecar it is on, the same end', async () => {
    const one = await started();
    const { world, outgoing, received, challengeId } = one;
    const other = await read(world, { sidecar: world.sidecar() });
    other.outgoing.send(resume(challengeId));
    await rest();
    outgoing.send(answer('right-1'));
    await Promise.all([finish(one), finish(other)]);
    expect(other.cases()).toEqual(['challenge', 'finished']);
    expect(other.received.at(-1)).toEqual(received.at(-1));
  });

  it('is told of the end within a second of the deadline, with heartbeats before', async () => {
    const { world, cases, received } = await started();
    await world.clock.advanceSlowly(59_500);
    expect(cases()).toEqual(['challenge', 'heartbeat', 'heartbeat', 'heartbeat', 'heartbeat', 'heartbeat']);
    await world.clock.advanceSlowly(1_400);
    expect(received.at(-1)?.event).toMatchObject({
      case: 'finished',
      value: { challenge: { state: ChallengeState.EXPIRED } },
    });
  });

  it('finds the end by itself when no news of it came', async () => {
    const world = challengeWorld();
    const one = await read(world);
    one.outgoing.send(START);
    await rest();
    await world.clock.advanceSlowly(61_000);
    expect(one.cases().at(-1)).toBe('finished');
    expect(world.eventsOf('challenge.expired')).toHaveLength(1);
  });
});

describe('cut and resumed', () => {
  it('gives the same answer at every point, on another sidecar', async () => {
    const { world, call, state, challengeId } = await started();
    call.end('cancelled');
    await rest();
    expect(state.done).toBe(true);
    expect(world.watches.open).toBe(0);
    const second = await read(world, { sidecar: world.sidecar() });
    second.outgoing.send(resume(challengeId), answer('wrong'));
    await rest();
    second.call.end('cancelled');
    await rest();
    const third = await read(world);
    third.outgoing.send(resume(challengeId), answer('right-1'));
    await finish(third);
    expect(third.cases()).toEqual(['challenge', 'finished']);
    const fourth = await read(world);
    fourth.outgoing.send(resume(challengeId));
    await finish(fourth);
    expect(fourth.received.at(-1)).toEqual(third.received.at(-1));
    expect(world.state.ends.get(challengeId)).toEqual(['APPROVED']);
  });

  it('keeps an approval that the caller did not wait for', async () => {
    const { world, outgoing, call, challengeId } = await started();
    world.checker.meanwhile = () => call.end('cancelled');
    outgoing.send(answer('right-1'));
    await rest();
    const again = await read(world);
    again.outgoing.send(resume(challengeId));
    await finish(again);
    expect(again.cases()).toEqual(['challenge', 'finished']);
  });

  it('says where to resume when the server stops, after what there was to say', async () => {
    const { world, call, received, state, challengeId } = await started();
    call.end('shutdown');
    await rest();
    expect(received.at(-1)?.event).toMatchObject({ case: 'interrupted', value: { challengeId } });
    expect(state).toEqual({ done: true, error: undefined });
    expect(world.state.ends.get(challengeId)).toBeUndefined();
  });
});

describe('a stream out of order', () => {
  it.each([
    ['an answer first', [answer('right-1')]],
    ['a cancellation first', [{ command: { case: 'cancel', value: {} } } as Request]],
    ['a second start', [START, START]],
    ['a resume after the start', [START, resume(`chl_${'0'.repeat(26)}`)]],
    ['a message that says nothing', [START, {}]],
  ])('ends with STREAM_ORDER: %s', async (_what, requests) => {
    const world = challengeWorld();
    const one = await read(world);
    one.outgoing.send(...requests);
    await rest();
    expect(one.state.error).toMatchObject({ kind: 'invalid', reason: 'STREAM_ORDER' });
    expect(world.watches.open).toBe(0);
    expect(world.state.challenges.size).toBeLessThanOrEqual(1);
    expect(world.checker.evaluated).toBe(0);
  });

  it('ends with STREAM_ORDER when it closes without saying anything', async () => {
    const one = await read(challengeWorld());
    one.outgoing.halfClose();
    await rest();
    expect(one.state.error).toMatchObject({ reason: 'STREAM_ORDER' });
  });

  it('ends when it says nothing for too long', async () => {
    const world = challengeWorld();
    const one = await read(world);
    await world.clock.advanceSlowly(10_500);
    expect(one.state.error).toMatchObject({ kind: 'deadline' });
  });
});

describe('a client that never reads', () => {
  it('is not read from either once a reply waits, and costs no more than its latest state', async () => {
    const world = challengeWorld();
    const one = openStream(world);
    one.outgoing.send(START, ...Array.from({ length: 1_000 }, () => answer('wrong')));
    void one.stream.next();
    await rest();
    const pulled = one.outgoing.pulled;
    expect(pulled).toBeLessThanOrEqual(3);
    await world.clock.advanceSlowly(30_000, 1_000);
    expect(one.outgoing.pulled).toBe(pulled);
    await one.stream.return?.(undefined);
    expect(world.watches.open).toBe(0);
  });
});

describe('limits', () => {
  it('bound the streams of one person and of all, and give the place back', async () => {
    const world = challengeWorld({ maxStreamsPerSubject: 2, maxStreams: 3 });
    const { challenge } = await world.challenges.open(APP, openCommand());
    const streams = await Promise.all([0, 1, 2].map(() => read(world)));
    for (const { outgoing } of streams) outgoing.send(resume(challenge.id));
    await rest();
    const refused = streams.filter(({ state }) => state.error !== undefined);
    expect(refused).toHaveLength(1);
    expect(refused[0]?.state.error).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(world.eventsOf('limit.hit')).toMatchObject([{ facts: { limit: 'streams_per_subject' }, subject: 'ann' }]);
    for (const { call } of streams) call.end('cancelled');
    await rest();
    expect(world.watches.open).toBe(0);
    await Promise.all([world.watches.follow(APP, refOf(challenge), () => {})]);
  });

  it('bound the streams of all people together, with an event that names the limit', async () => {
    const world = challengeWorld({ maxStreamsPerSubject: 8, maxStreams: 2 });
    world.factors.push(factorOf('totp', { id: 'fac_bobs', subject: 'bob' }));
    const anns = (await world.challenges.open(APP, openCommand())).challenge;
    const bobs = (await world.challenges.open(APP, openCommand({ subject: 'bob' }))).challenge;
    const first = await world.watches.follow(APP, refOf(anns), () => {});
    await world.watches.follow(APP, refOf(bobs), () => {});
    const third = () => world.watches.follow(APP, refOf(bobs), () => {});
    await expect(third()).rejects.toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(world.eventsOf('limit.hit')).toMatchObject([{ facts: { limit: 'streams' } }]);
    first.close();
    await third();
    expect(world.watches.open).toBe(2);
  });

  it('of one timer for all streams', async () => {
    const world = challengeWorld({ maxStreamsPerSubject: 1_000, maxStreams: 1_000 });
    const { challenge } = await world.challenges.open(APP, openCommand());
    const before = world.clock.pending;
    const streams = await Promise.all(Array.from({ length: 200 }, () => read(world)));
    for (const { outgoing } of streams) outgoing.send(resume(challenge.id));
    await rest();
    expect(world.clock.pending - before).toBe(1);
    await world.clock.advanceSlowly(10_500, 500);
    for (const { cases } of streams) expect(cases()).toEqual(['challenge', 'heartbeat']);
  });
});

describe('WatchChallenge', () => {
  const watch = (world: ChallengeWorld, challengeId: string, caller: Caller) => {
    const handlers = challengeHandlers({ ...world, realms: { names: new Set([REALM]), defaultRealm: REALM } });
    const call = new TestCall(caller);
    const received: unknown[] = [];
    const state = { error: undefined as unknown };
    const pull = async () => {
      try {
        const request = create(WatchChallengeRequestSchema, { challengeId });
        for await (const response of handlers.watchChallenge(request, call)) received.push(response.event?.case);
      } catch (error) {
        state.error = error;
      }
    };
    void pull();
    return { call, received, state };
  };

  it('follows to the end, and refuses whom the challenge is not bound to', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const mine = watch(world, challenge.id, APP);
    const theirs = watch(world, challenge.id, OTHER_APP);
    await rest();
    expect(theirs.state.error).toMatchObject({ reason: 'CHALLENGE_NOT_FOUND' });
    await world.verification.answer(APP, { ...refOf(challenge), proof: totp('right-1'), requestId: '' });
    await soon(() => expect(mine.received).toEqual(['challenge', 'finished']));
  });

  it('shows the portal no difference between a locked person and one who keeps guessing', async () => {
    const guessing = challengeWorld();
    const locked = challengeWorld();
    const seen: unknown[][] = [];
    for (const [world, guesses] of [
      [guessing, 3],
      [locked, 5],
    ] as const) {
      world.expiry.start();
      const { challenge } = await world.challenges.open(APP, openCommand());
      const portal = watch(world, challenge.id, PORTAL);
      await rest();
      for (let i = 0; i < guesses; i++) {
        await world.verification.answer(PORTAL, { ...refOf(challenge), proof: totp('wrong'), requestId: '' });
      }
      await world.clock.advanceSlowly(61_000);
      seen.push(portal.received);
    }
    expect(locked.eventsOf('challenge.locked')).toHaveLength(1);
    expect(seen[1]).toEqual(seen[0]);
    expect(seen[1]?.at(-1)).toBe('finished');
  });

  it('says where to resume when the server stops', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const mine = watch(world, challenge.id, APP);
    await rest();
    mine.call.end('shutdown');
    await rest();
    expect(mine.received).toEqual(['challenge', 'interrupted']);
    expect(world.watches.open).toBe(0);
  });
});
