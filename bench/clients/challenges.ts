// Load for the challenge row, in a process of its own: one whole TOTP challenge per person, each over a VerifyChallenge
// stream of its own, a fixed number in flight. Arguments: port, in flight, connections, file with the people, from, until.
// Prints one line of JSON.
import { readFileSync } from 'node:fs';
import type { ClientHttp2Session } from 'node:http2';
import { ChallengeState } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import type { Person } from '../people.ts';
import { percentile } from '../row.ts';
import { newConnection } from './http2-calls.ts';
import { code } from './totp-code.ts';
import { VerifyStream } from './verify-challenge.ts';

const [port = '', inFlight = '64', connections = '4', file = '', from, until] = process.argv.slice(2);
const everybody = JSON.parse(readFileSync(file, 'utf8')) as Person[];
const people = everybody.slice(Number(from), Number(until));
const sessions = Array.from({ length: Number(connections) }, () => newConnection(port));
const action = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };

/** Answers what went wrong, '' for nothing. */
async function challenge(connection: ClientHttp2Session, person: Person): Promise<string> {
  const stream = new VerifyStream(connection);
  let approved = false;
  let said: string | undefined = 'nothing';
  stream.onMessage = ({ event }) => {
    said = event.case;
    if (event.case === 'challenge') {
      const totp = { code: code(person.secret) };
      stream.send({ command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: totp } } } } });
    } else if (event.case === 'finished') {
      approved = event.value.challenge?.state === ChallengeState.APPROVED && event.value.receipt !== undefined;
    }
  };
  stream.send({
    command: { case: 'start', value: { subject: person.subject, action, sensitivity: Sensitivity.CRITICAL } },
  });
  const status = await stream.ended;
  return status === '0' && approved ? '' : `status ${status}, ${said}`;
}

const times: number[] = [];
const failures = new Map<string, number>();
const waiting = people.values();
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: Number(inFlight) }, async (_, lane) => {
    const session = sessions[lane % sessions.length];
    if (!session) throw new Error('no connections');
    for (const person of waiting) {
      const at = performance.now();
      const wrong = await challenge(session, person);
      if (wrong !== '') failures.set(wrong, (failures.get(wrong) ?? 0) + 1);
      times.push(performance.now() - at);
    }
  }),
);
const seconds = (performance.now() - startedAt) / 1000;
for (const session of sessions) session.close();
if (failures.size > 0) console.error(failures);
const result = {
  perSecond: times.length / seconds,
  p50: percentile(times, 0.5),
  p99: percentile(times, 0.99),
  failed: [...failures.values()].reduce((sum, count) => sum + count, 0),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
