// The bare equivalent of a start: grpc-js with Health/Check and nothing else, on the port that is its argument.
import { Server, ServerCredentials } from '@grpc/grpc-js';

const SERVING = Buffer.from([8, 1]);
const same = (bytes: Buffer) => bytes;

const server = new Server();
server.addService(
  {
    check: {
      path: '/grpc.health.v1.Health/Check',
      requestStream: false,
      responseStream: false,
      requestDeserialize: same,
      requestSerialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  },
  { check: (_call: unknown, done: (error: null, value: Buffer) => void) => done(null, SERVING) },
);
server.bindAsync(`127.0.0.1:${process.argv[2]}`, ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
process.on('SIGTERM', () => server.forceShutdown());
