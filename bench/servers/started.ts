// The bare equivalent of a start: grpc-js with one method, until it listens. Prints `ready`.
import { Server, ServerCredentials } from '@grpc/grpc-js';

const server = new Server();
server.addService(
  { check: { path: '/bare/Check', requestStream: false, responseStream: false, requestDeserialize: (b: Buffer) => b, requestSerialize: (b: Buffer) => b, responseSerialize: (b: Buffer) => b, responseDeserialize: (b: Buffer) => b } },
  { check: (_call: unknown, done: (error: null, value: Buffer) => void) => done(null, Buffer.alloc(0)) },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
  process.stdout.write('ready\n');
});
process.on('SIGTERM', () => server.forceShutdown());
