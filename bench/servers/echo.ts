// The bare equivalent: grpc-js and protobuf-es with the same messages and nothing else, but for one GET per validation when
// ECHO_REDIS has the port of a Redis. Prints its port.
import { fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js';
import {
  ChallengeService,
  ChallengeState,
  type VerifyChallengeRequest,
  type VerifyChallengeResponseSchema,
} from '../../src/gen/sallyport/v1/challenge_pb.js';
import {
  SessionService,
  type ValidateSessionRequest,
  ValidateSessionResponseSchema,
} from '../../src/gen/sallyport/v1/session_pb.js';
import { definitionOf } from './definition.ts';

// The answer that the sidecar gave, so that both encode the same message.
const sample = Buffer.from(process.env['ECHO_RESPONSE'] ?? '', 'base64url');
const response = fromBinary(ValidateSessionResponseSchema, sample);

/** As much as the sealed copy of a session has. */
const COPY_BYTES = 600;
const { ECHO_REDIS: redisPort } = process.env;
const redis = redisPort === undefined ? undefined : await connected(Number(redisPort));
await redis?.set('bare', Buffer.alloc(COPY_BYTES));

/** Loaded only where it is used: the others are measured without it. */
async function connected(port: number) {
  const { Redis } = await import('ioredis');
  return new Redis(port, '127.0.0.1');
}

const server = new Server();
server.addService(
  { validateSession: definitionOf(SessionService.method.validateSession) },
  {
    validateSession(
      _call: ServerUnaryCall<ValidateSessionRequest, typeof response>,
      done: sendUnaryData<typeof response>,
    ) {
      if (redis) void redis.getBuffer('bare').then(() => done(null, response));
      else done(null, response);
    },
  },
);

type Init = MessageInitShape<typeof VerifyChallengeResponseSchema>;
const challenge = { id: `chl_${'0'.repeat(27)}`, subject: 'person-1', realm: 'default' };
const approved: Init = {
  event: {
    case: 'finished',
    value: { challenge: { ...challenge, state: ChallengeState.APPROVED }, receipt: { token: 'x'.repeat(700) } },
  },
};
server.addService(
  { verifyChallenge: definitionOf(ChallengeService.method.verifyChallenge) },
  {
    verifyChallenge(call: ServerDuplexStream<VerifyChallengeRequest, Init>) {
      call.on('data', (request: VerifyChallengeRequest) => {
        if (request.command.case === 'start') {
          call.write({ event: { case: 'challenge', value: challenge } });
          return;
        }
        call.write(approved);
        call.end();
      });
      call.on('error', () => {});
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${port}\n`);
});
process.on('SIGTERM', () => {
  redis?.disconnect();
  server.forceShutdown();
});
