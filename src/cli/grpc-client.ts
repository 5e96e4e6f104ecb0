import {
  create,
  type DescMethod,
  type DescMethodServerStreaming,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Client, type ClientReadableStream, credentials, Metadata } from '@grpc/grpc-js';

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** One bidirectional stream: what is written, and what comes back, in order. */
export interface BidiStream<I, O> {
  write(message: I): void;
  /** Ends when the server ends the stream; throws its error. */
  readonly messages: AsyncIterable<O>;
}

/** A client of a sidecar, for the commands of this program. */
export class SidecarClient {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  /** `target` as grpc-js reads it: `host:port` or `unix:/path`. */
  constructor(target: string, options: { readonly name: string; readonly operatorToken?: string }) {
    this.#client = new Client(target, credentials.createInsecure());
    this.#metadata.set('x-sallyport-client', options.name);
    if (options.operatorToken !== undefined) this.#metadata.set('authorization', `Bearer ${options.operatorToken}`);
  }

  call<M extends DescMethod>(method: M, request: MessageInitShape<M['input']>): Promise<MessageShape<M['output']>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `/${method.parent.typeName}/${method.name}`,
        (init: MessageInitShape<M['input']>) => asBuffer(toBinary(method.input, create(method.input, init))),
        (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
        request,
        this.#metadata,
        { deadline: Date.now() + 30_000 },
        (error, reply) => (error ? reject(error) : resolve(reply as MessageShape<M['output']>)),
      );
    });
  }

  serverStream<M extends DescMethodServerStreaming>(
    method: M,
    request: MessageInitShape<M['input']>,
  ): ClientReadableStream<MessageShape<M['output']>> {
    return this.#client.makeServerStreamRequest(
      `/${method.parent.typeName}/${method.name}`,
      (init: MessageInitShape<M['input']>) => asBuffer(toBinary(method.input, create(method.input, init))),
      (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
      request,
      this.#metadata,
    );
  }

  bidi<M extends DescMethod>(method: M): BidiStream<MessageInitShape<M['input']>, MessageShape<M['output']>> {
    const stream = this.#client.makeBidiStreamRequest(
      `/${method.parent.typeName}/${method.name}`,
      (init: MessageInitShape<M['input']>) => asBuffer(toBinary(method.input, create(method.input, init))),
      (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
      this.#metadata,
    );
    return { write: (message) => stream.write(message), messages: stream };
  }

  close(): void {
    this.#client.close();
  }
}
