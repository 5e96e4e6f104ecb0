import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import { type Challenge, canMove, isTerminal, stateAt } from '#src/domain/challenge.ts';
import {
  APP,
  challengeWorld,
  factorOf,
  OTHER_APP,
  openCommand,
  PORTAL,
  push,
  REALM,
  refOf,
  totp,
} from '../../support/challenge-world.ts';

const CALLERS: readonly Caller[] = [APP, APP, PORTAL, OTHER_APP];

const step = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('open' as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('answer' as const),
      code: fc.constantFrom('wrong', 'wrong', 'right-1', 'right-2', 'right-3'),
      requestId: fc.constantFrom('', '', 'r1', 'r2'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('choose' as const),
      method: fc.constantFrom('totp' as const, 'sms' as const, 'push' as const, 'push' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      number: fc.constantFrom('42', '42', '41', ''),
      notMe: fc.constantFrom(false, false, false, true),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('deliver' as const),
      id: fc.constantFrom('dlv_1', 'dlv_2'),
      status: fc.constantFrom('QUEUED' as const, 'SENT' as const, 'DELIVERED' as const, 'FAILED' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('see' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1_000, 20_000, 59_000) }) },
);

const command = fc.record({
  step,
  client: fc.nat({ max: 7 }),
  target: fc.nat({ max: 2 }),
  /** Whether to wait for it before the next one. */
  alone: fc.boolean(),
});

describe('random calls from eight clients on two sidecars', () => {
  it('leave a history that fits the state machine, with one end and one end event for each challenge', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 60 }), async (commands) => {
        const world = challengeWorld({ policy: { methods: ['totp', 'sms', 'push', 'backup_code'] } });
        world.factors.push(factorOf('sms'), factorOf('push'));
        const sidecars = [world, world.sidecar()];
        for (const { expiry } of sidecars) expiry.start();
        const challenges: Challenge[] = [];
        const history = new Map<string, Challenge['state'][]>();
        const follow = ({ id, state }: Challenge) => {
          if (history.has(id)) return;
          const states = [state];
          history.set(id, states);
          world.signals.onChallenge(id, (next) => {
            if (next.state !== states.at(-1)) states.push(next.state);
          });
        };
        const run = async ({ step: wish, client, target }: (typeof commands)[number]) => {
          const caller = CALLERS[client % CALLERS.length] ?? APP;
          const engine = sidecars[client % 2] ?? world;
          if (wish.do === 'wait') return world.clock.advance(wish.ms);
          if (wish.do === 'open') {
            const { challenge } = await engine.challenges.open(APP, openCommand({ sensitivity: 'sensitive' }));
            challenges.push(challenge);
            return follow(challenge);
          }
          const challenge = challenges[target];
          if (!challenge) return undefined;
          const ref = refOf(challenge);
          switch (wish.do) {
            case 'answer':
              await engine.verification.answer(caller, { ...ref, proof: totp(wish.code), requestId: wish.requestId });
              break;
            case 'cancel':
              await engine.challenges.cancel(caller, ref, '');
              break;
            case 'choose':
              await engine.challenges.choose(caller, ref, wish.method, '');
              break;
            case 'push': {
              const { number, notMe } = wish;
              const proof = push(number, { notMe: notMe && number === '' });
              await engine.verification.answerAsDevice(PORTAL, { ...ref, proof, requestId: '' });
              break;
            }
            case 'deliver': {
              const { id, status } = wish;
              const delivery = {
                id,
                status,
                method: 'sms',
                factorId: 'fac_sms',
                reason: '',
                resendable: true,
              } as const;
              await world.deliveries.note(challenge, { ...delivery, at: world.clock.now() });
              break;
            }
            case 'see':
              await world.deliveries.seen(challenge);
              break;
            case 'read':
              await engine.challenges.read(caller, ref);
          }
          return undefined;
        };
        const running: Promise<unknown>[] = [];
        for (const one of commands) {
          const call = run(one).catch((error: { reason?: string }) => {
            // Refusals are fine; anything else is a defect.
            if (error.reason === undefined) throw error;
          });
          running.push(call);
          if (one.alone) await call;
        }
        await Promise.all(running);
        const live = challenges.filter(({ id }) => {
          const stored = world.state.get(REALM, id);
          return (
            stored?.chosenMethod === 'push' &&
            stateAt(stored, world.clock.now()) === stored.state &&
            !isTerminal(stored.state)
          );
        });
        expect(live.length).toBeLessThanOrEqual(1);
        await world.clock.advanceSlowly(62_000, 1_000);
        for (const { expiry } of sidecars) await expiry.stop();

        for (const { id } of challenges) {
          const ends = world.state.ends.get(id) ?? [];
          expect(ends).toHaveLength(1);
          const states = history.get(id) ?? [];
          for (let i = 1; i < states.length; i++) {
            expect(canMove(states[i - 1] ?? 'PENDING', states[i] ?? 'PENDING')).toBe(true);
          }
          expect(states.at(-1)).toBe(ends[0]);
          expect(isTerminal(world.state.get(REALM, id)?.state ?? 'PENDING')).toBe(true);
          const endEvents = world.state.events.filter(
            (event) =>
              event.challengeId === id &&
              /^challenge\.(?:approved|denied|expired|cancelled|locked|superseded)$/.test(event.type),
          );
          expect(endEvents.map(({ type }) => type)).toEqual([`challenge.${(ends[0] ?? '').toLowerCase()}`]);
        }
        // Each step of the authenticator approved at most one challenge, and nobody was approved by push unasked.
        const approved = challenges
          .map(({ id }) => world.state.get(REALM, id))
          .filter((challenge) => challenge?.state === 'APPROVED');
        expect(approved.filter((challenge) => challenge?.provenMethod === 'totp').length).toBeLessThanOrEqual(3);
        const prompted = new Set(world.methods.push.prompts.map(({ challengeId }) => challengeId));
        for (const challenge of approved.filter((one) => one?.provenMethod === 'push')) {
          expect(prompted).toContain(challenge?.id);
        }
        // Who said that it was not them has no push any more, and nothing was frozen for anybody else.
        const notMe = world.state.events.some(({ reason }) => reason === 'NOT_ME');
        expect(world.factors.some(({ freezeReason }) => freezeReason === 'NOT_ME')).toBe(notMe);
      }),
      { numRuns: 150 },
    );
  });
});
