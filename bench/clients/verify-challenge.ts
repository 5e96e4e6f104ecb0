// What both loads of VerifyChallenge need.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import {
  ChallengeService,
  VerifyChallengeRequestSchema,
  type VerifyChallengeResponse,
  VerifyChallengeResponseSchema,
} from '../../src/gen/sallyport/v1/challenge_pb.js';

export type Request = MessageInitShape<typeof VerifyChallengeRequestSchema>;
export type VerifyStream = ClientDuplexStream<Request, VerifyChallengeResponse>;

const metadata = new Metadata();
metadata.set('x-sallyport-client', 'bench');

/** A client with a connection of its own. */
export function newClient(port: string): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
}

export function verifyChallenge(client: Client): VerifyStream {
  return client.makeBidiStreamRequest(
    `/${ChallengeService.typeName}/VerifyChallenge`,
    (message: Request) =>
      Buffer.from(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, message))),
    (bytes: Buffer) => fromBinary(VerifyChallengeResponseSchema, bytes),
    metadata,
  );
}
