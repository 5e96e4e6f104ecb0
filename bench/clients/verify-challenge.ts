// A call of VerifyChallenge, message by message.
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  ChallengeService,
  VerifyChallengeRequestSchema,
  type VerifyChallengeResponse,
  VerifyChallengeResponseSchema,
} from '../../src/gen/sallyport/v1/challenge_pb.js';
import { frameOf, headersOf, PREFIX_BYTES } from './http2-calls.ts';

export type Request = MessageInitShape<typeof VerifyChallengeRequestSchema>;

const HEADERS = headersOf(ChallengeService.method.verifyChallenge);

/** One call of VerifyChallenge. */
export class VerifyStream {
  /** Called with every message. */
  onMessage: (message: VerifyChallengeResponse) => void = () => {};
  /** Resolves at the end with the status; rejects when there was none. */
  readonly ended: Promise<string>;
  readonly #stream: ClientHttp2Stream;
  #rest: Buffer = Buffer.alloc(0);

  constructor(connection: ClientHttp2Session) {
    this.#stream = connection.request(HEADERS);
    this.#stream.on('data', (chunk: Buffer) => this.#take(chunk));
    this.ended = new Promise((resolve, reject) => {
      let status: string | undefined;
      const note = (headers: { readonly 'grpc-status'?: unknown }) => {
        if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
      };
      this.#stream.on('response', note);
      this.#stream.on('trailers', note);
      this.#stream.on('error', reject);
      this.#stream.on('end', () => this.#stream.end());
      this.#stream.on('close', () =>
        status === undefined ? reject(new Error('a stream ended without a status')) : resolve(status),
      );
    });
  }

  send(request: Request): void {
    this.#stream.write(frameOf(toBinary(VerifyChallengeRequestSchema, create(VerifyChallengeRequestSchema, request))));
  }

  #take(chunk: Buffer): void {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + rest.readUInt32BE(1);
      if (rest.length < end) break;
      this.onMessage(fromBinary(VerifyChallengeResponseSchema, rest.subarray(PREFIX_BYTES, end)));
      rest = rest.subarray(end);
    }
    this.#rest = rest;
  }
}
