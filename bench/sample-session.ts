import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import {
  CreateSessionRequestSchema,
  CreateSessionResponseSchema,
  SessionService,
  ValidateSessionRequestSchema,
} from '../src/gen/sallyport/v1/session_pb.js';

export const VALIDATE_PATH = `/${SessionService.typeName}/ValidateSession`;
const client = {
  ipAddress: '203.0.113.7',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
};

/** A session's ValidateSession request, and what it is answered. */
export async function sampleOf(port: number): Promise<{ readonly request: Buffer; readonly response: Buffer }> {
  const connection = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set('x-sallyport-client', 'bench');
  const same = (bytes: Buffer) => bytes;
  const call = (method: string, message: Uint8Array) =>
    new Promise<Buffer>((resolve, reject) => {
      const path = `/${SessionService.typeName}/${method}`;
      connection.makeUnaryRequest(path, same, same, Buffer.from(message), metadata, (error, reply) =>
        reply ? resolve(reply) : reject(error),
      );
    });
  try {
    const signIn = create(CreateSessionRequestSchema, { subject: 'person-1', client });
    const created = await call('CreateSession', toBinary(CreateSessionRequestSchema, signIn));
    const { token } = fromBinary(CreateSessionResponseSchema, created);
    const validate = create(ValidateSessionRequestSchema, { token, client });
    const request = Buffer.from(toBinary(ValidateSessionRequestSchema, validate));
    return { request, response: await call('ValidateSession', request) };
  } finally {
    connection.close();
  }
}
