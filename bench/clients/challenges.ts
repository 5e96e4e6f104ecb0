// Load for the challenge row, in a process of its own: one VerifyChallenge stream per person, a fixed number in flight.
// Arguments: port, in flight, connections, file with the people ({subject, secret} as JSON). Prints one line of JSON.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { VerifyChallengeRequestSchema, type VerifyChallengeResponse, VerifyChallengeResponseSchema } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import { percentile } from '../row.ts';

const [port = '', inFlight = '64', connections = '4', file = ''] = process.argv.slice(2);
const people = JSON.parse(readFileSync(file, 'utf8')) as { subject: string; secret: string }[];
const metadata = new Metadata();
metadata.set('x-sallyport-client', 'bench');
const clients = Array.from(
  { length: Number(connections) },
  () => new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
);

function code(secret: string): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const mac = createHmac('sha1', Buffer.from(secret, 'base64url')).update(counter).digest();
  const offset = (mac.at(-1) ?? 0) & 15;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

type Init = MessageInitShape<typeof VerifyChallengeRequestSchema>;
function challenge(client: Client, person: { subject: string; secret: string }): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const stream = client.makeBidiStreamRequest(
      '/sallyport.v1.ChallengeService/VerifyChallenge',
      (message: Init) => Buffer.from(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, message))),
      (bytes: Buffer) => fromBinary(VerifyChallengeResponseSchema, bytes),
      metadata,
    );
    let finished = false;
    stream.on('data', (message: VerifyChallengeResponse) => {
      if (message.event.case === 'challenge') {
        stream.write({ command: { case: 'answer', value: { proof: { kind: { case: 'totp', value: { code: code(person.secret) } } } } } });
      } else if (message.event.case === 'finished') finished = true;
    });
    stream.on('end', () => resolve(finished));
    stream.on('error', reject);
    const action = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };
    stream.write({ command: { case: 'start', value: { subject: person.subject, action, sensitivity: Sensitivity.CRITICAL } } });
  });
}

const warm = people.splice(0, Math.min(200, Math.floor(people.length / 10)));
await Promise.all(warm.map((person, index) => challenge(clients[index % clients.length] as Client, person)));
const times: number[] = [];
let failed = 0;
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: Number(inFlight) }, async (_, lane) => {
    for (let person = people.pop(); person; person = people.pop()) {
      const at = performance.now();
      if (!(await challenge(clients[lane % clients.length] as Client, person))) failed += 1;
      times.push(performance.now() - at);
    }
  }),
);
const seconds = (performance.now() - startedAt) / 1000;
for (const client of clients) client.close();
process.stdout.write(`${JSON.stringify({ perSecond: times.length / seconds, p50: percentile(times, 0.5), p99: percentile(times, 0.99), failed })}\n`);
