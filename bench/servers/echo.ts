// The bare equivalent: grpc-js and protobuf-es with the same messages and nothing else. Prints its port.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
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
  VerifyChallengeRequestSchema,
  VerifyChallengeResponseSchema,
} from '../../src/gen/sallyport/v1/challenge_pb.js';
import {
  SessionService,
  type ValidateSessionRequest,
  ValidateSessionRequestSchema,
  ValidateSessionResponseSchema,
} from '../../src/gen/sallyport/v1/session_pb.js';

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// The answer that the sidecar gave, so that both encode the same message.
const sample = Buffer.from(process.env['ECHO_RESPONSE'] ?? '', 'base64url');
const response = fromBinary(ValidateSessionResponseSchema, sample);

const server = new Server();
server.addService(
  {
    validateSession: {
      path: `/${SessionService.typeName}/ValidateSession`,
      requestStream: false,
      responseStream: false,
      requestDeserialize: (bytes: Buffer) => fromBinary(ValidateSessionRequestSchema, bytes),
      requestSerialize: (message: ValidateSessionRequest) => asBuffer(toBinary(ValidateSessionRequestSchema, message)),
      responseSerialize: (message: typeof response) => asBuffer(toBinary(ValidateSessionResponseSchema, message)),
      responseDeserialize: (bytes: Buffer) => fromBinary(ValidateSessionResponseSchema, bytes),
    },
  },
  {
    validateSession(
      _call: ServerUnaryCall<ValidateSessionRequest, typeof response>,
      done: sendUnaryData<typeof response>,
    ) {
      done(null, response);
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
  {
    verifyChallenge: {
      path: `/${ChallengeService.typeName}/VerifyChallenge`,
      requestStream: true,
      responseStream: true,
      requestDeserialize: (bytes: Buffer) => fromBinary(VerifyChallengeRequestSchema, bytes),
      requestSerialize: (message: VerifyChallengeRequest) => asBuffer(toBinary(VerifyChallengeRequestSchema, message)),
      responseSerialize: (init: Init) =>
        asBuffer(toBinary(VerifyChallengeResponseSchema, create(VerifyChallengeResponseSchema, init))),
      responseDeserialize: (bytes: Buffer) => fromBinary(VerifyChallengeResponseSchema, bytes),
    },
  },
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
process.on('SIGTERM', () => server.forceShutdown());
