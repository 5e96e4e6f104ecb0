// Holds many open VerifyChallenge streams, in a process of its own. Arguments: port, file with the people. Prints `open` once
// all are, and when all have ended one line of JSON with how late the ends came.
import { readFileSync } from 'node:fs';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { ChallengeState } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import type { Person } from '../people.ts';
import { percentile } from '../row.ts';
import { newConnection } from './http2-calls.ts';
import { VerifyStream } from './verify-challenge.ts';

const [port = '', file = ''] = process.argv.slice(2);
const people = JSON.parse(readFileSync(file, 'utf8')) as Person[];
const PER_CONNECTION = 500;
/** Streams that are being opened at once. */
const OPENING = 64;
const action = { resource: 'accounts/42', action: 'transfer.create' };

const late: number[] = [];
let refused = 0;

/** Resolves `opened` with the challenge, and `ended` with the last message. */
function open(stream: VerifyStream, person: Person): { readonly opened: Promise<void>; readonly ended: Promise<void> } {
  let expiresAt = 0;
  const opened = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  stream.onMessage = ({ event }) => {
    if (event.case === 'challenge') {
      expiresAt = event.value.expireTime ? timestampMs(event.value.expireTime) : 0;
      opened.resolve();
    } else if (event.case === 'finished') {
      if (event.value.challenge?.state === ChallengeState.EXPIRED) late.push(Date.now() - expiresAt);
      ended.resolve();
    }
  };
  const over = (wrong: boolean) => {
    if (wrong) refused += 1;
    opened.resolve();
    ended.resolve();
  };
  stream.ended.then(
    (status) => over(status !== '0'),
    () => over(true),
  );
  stream.send({
    command: { case: 'start', value: { subject: person.subject, action, sensitivity: Sensitivity.CRITICAL } },
  });
  return { opened: opened.promise, ended: ended.promise };
}

const sessions = Array.from({ length: Math.ceil(people.length / PER_CONNECTION) }, () => newConnection(port));
const ends: Promise<void>[] = [];
const waiting = people.entries();
await Promise.all(
  Array.from({ length: OPENING }, async () => {
    for (const [index, person] of waiting) {
      const session = sessions[index % sessions.length];
      if (!session) throw new Error('no connections');
      const { opened, ended } = open(new VerifyStream(session), person);
      ends.push(ended);
      await opened;
    }
  }),
);
process.stdout.write('open\n');
await Promise.all(ends);
for (const session of sessions) session.close();
const result = { refused, expired: late.length, lateMax: percentile(late, 1), lateP99: percentile(late, 0.99) };
process.stdout.write(`${JSON.stringify(result)}\n`);
