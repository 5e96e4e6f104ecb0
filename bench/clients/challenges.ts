// Load for the challenge row, in a process of its own: one whole TOTP challenge per person, each over a VerifyChallenge
// stream of its own, a fixed number in flight. Arguments: port, in flight, connections, file with the people, from, until.
// Prints one line of JSON.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Client } from '@grpc/grpc-js';
import { ChallengeState, type VerifyChallengeResponse } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import type { Person } from '../people.ts';
import { percentile } from '../row.ts';
import { newClient, verifyChallenge } from './verify-challenge.ts';

const [port = '', inFlight = '64', connections = '4', file = '', from, until] = process.argv.slice(2);
const everybody = JSON.parse(readFileSync(file, 'utf8')) as Person[];
const people = everybody.slice(Number(from), Number(until));
const clients = Array.from({ length: Number(connections) }, () => newClient(port));
const action = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };

/** RFC 6238, apart from the product's own. */
function code(secret: string): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac('sha1', Buffer.from(secret, 'base64url')).update(counter).digest();
  const offset = (mac.at(-1) ?? 0) & 15;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

function challenge(client: Client, person: Person): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const stream = verifyChallenge(client);
    let approved = false;
    stream.on('data', ({ event }: VerifyChallengeResponse) => {
      if (event.case === 'challenge') {
        const totp = { code: code(person.secret) };
        stream.write({ command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: totp } } } } });
      } else if (event.case === 'finished') {
        approved = event.value.challenge?.state === ChallengeState.APPROVED && event.value.receipt !== undefined;
      }
    });
    stream.on('end', () => resolve(approved));
    stream.on('error', reject);
    stream.write({
      command: { case: 'start', value: { subject: person.subject, action, sensitivity: Sensitivity.CRITICAL } },
    });
  });
}

const times: number[] = [];
let failed = 0;
const waiting = people.values();
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: Number(inFlight) }, async (_, lane) => {
    const client = clients[lane % clients.length];
    if (!client) throw new Error('no connections');
    for (const person of waiting) {
      const at = performance.now();
      if (!(await challenge(client, person))) failed += 1;
      times.push(performance.now() - at);
    }
  }),
);
const seconds = (performance.now() - startedAt) / 1000;
for (const client of clients) client.close();
const result = {
  perSecond: times.length / seconds,
  p50: percentile(times, 0.5),
  p99: percentile(times, 0.99),
  failed,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
