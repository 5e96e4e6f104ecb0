// Holds many open VerifyChallenge streams, in a process of its own. Arguments: port, file with the people. Prints `open` once
// all are, and at the end one line of JSON with how late the ends came.
import { readFileSync } from 'node:fs';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { VerifyChallengeRequestSchema, type VerifyChallengeResponse, VerifyChallengeResponseSchema } from '../../src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '../../src/gen/sallyport/v1/common_pb.js';
import { percentile } from '../row.ts';

const [port = '', file = ''] = process.argv.slice(2);
const people = JSON.parse(readFileSync(file, 'utf8')) as { subject: string }[];
const metadata = new Metadata();
metadata.set('x-sallyport-client', 'bench');
const PER_CONNECTION = 500;
type Init = MessageInitShape<typeof VerifyChallengeRequestSchema>;

const late: number[] = [];
let opened = 0;
let refused = 0;
const allOpen = Promise.withResolvers<void>();
const clients: Client[] = [];
const ends: Promise<void>[] = [];
for (const [index, person] of people.entries()) {
  if (index % PER_CONNECTION === 0) {
    clients.push(new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const stream = (clients.at(-1) as Client).makeBidiStreamRequest(
    '/sallyport.v1.ChallengeService/VerifyChallenge',
    (message: Init) => Buffer.from(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, message))),
    (bytes: Buffer) => fromBinary(VerifyChallengeResponseSchema, bytes),
    metadata,
  );
  let expiresAt = 0;
  ends.push(
    new Promise((resolve) => {
      stream.on('data', (message: VerifyChallengeResponse) => {
        if (message.event.case === 'challenge') {
          const { expireTime } = message.event.value;
          expiresAt = expireTime ? timestampMs(expireTime) : 0;
          opened += 1;
          if (opened + refused === people.length) allOpen.resolve();
        }
        if (message.event.case === 'finished') {
          late.push(Date.now() - expiresAt);
          resolve();
        }
      });
      stream.on('error', () => {
        refused += 1;
        if (opened + refused === people.length) allOpen.resolve();
        resolve();
      });
      stream.on('end', resolve);
    }),
  );
  stream.write({
    command: { case: 'start', value: { subject: person.subject, action: { resource: 'accounts/42', action: 'transfer.create' }, sensitivity: Sensitivity.CRITICAL } },
  });
}
await allOpen.promise;
process.stdout.write('open\n');
await Promise.all(ends);
for (const client of clients) client.close();
process.stdout.write(`${JSON.stringify({ opened, refused, ended: late.length, lateMax: percentile(late, 1), lateMin: percentile(late, 0), lateP99: percentile(late, 0.99) })}\n`);
