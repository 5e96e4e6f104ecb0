// How long after an answer at one sidecar a stream at another ends, in a process of its own. Arguments: port of the
// stream, port of the answer, file with the people, from, until, lanes. Prints one line of JSON.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ChallengeService, ChallengeState } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import type { Person } from '../people.ts';
import { percentile } from '../row.ts';
import { mustCall, newConnection } from './http2-calls.ts';
import { code } from './totp-code.ts';
import { VerifyStream } from './verify-challenge.ts';

const [portA = '', portB = '', file = '', from, until, lanes] = process.argv.slice(2);
const everybody = JSON.parse(readFileSync(file, 'utf8')) as Person[];
const people = everybody.slice(Number(from), Number(until)).values();
const [a, b] = [newConnection(portA), newConnection(portB)];
const { answerChallenge } = ChallengeService.method;
const action = { resource: 'accounts/42', action: 'transfer.create' };
/** For the person to look at their phone, so that the challenge is told before its answer. */
const LOOK_MS = 30;

async function one({ subject, secret }: Person): Promise<number> {
  const opened = Promise.withResolvers<string>();
  const finished = Promise.withResolvers<ChallengeState | undefined>();
  const stream = new VerifyStream(a);
  stream.onMessage = ({ event }) => {
    if (event.case === 'challenge') opened.resolve(event.value.id);
    else if (event.case === 'finished') finished.resolve(event.value.challenge?.state);
  };
  stream.ended.catch((error: unknown) => {
    opened.reject(error);
    finished.reject(error);
  });
  stream.send({ command: { case: 'start', value: { subject, action, sensitivity: Sensitivity.CRITICAL } } });
  const challengeId = await opened.promise;
  await pause(LOOK_MS);
  const step = { case: 'proof', value: { kind: { case: 'totp', value: { code: code(secret) } } } } as const;
  const sentAt = performance.now();
  const [state] = await Promise.all([
    finished.promise.then((ended) => ({ ended, at: performance.now() })),
    mustCall(b, answerChallenge, { challengeId, step }),
  ]);
  if (state.ended !== ChallengeState.APPROVED) throw new Error(`a challenge ended ${state.ended}`);
  return state.at - sentAt;
}

const times: number[] = [];
await Promise.all(
  Array.from({ length: Number(lanes) }, async () => {
    for (const person of people) times.push(await one(person));
  }),
);
a.close();
b.close();
process.stdout.write(`${JSON.stringify({ p50: percentile(times, 0.5), p99: percentile(times, 0.99) })}\n`);
