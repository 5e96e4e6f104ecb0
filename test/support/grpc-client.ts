import {
  create,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { ErrorInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '#src/gen/google/rpc/status_pb.js';

/** A gRPC client for tests: grpc-js over the generated descriptors, independent of the server's own adapter. */
export class GrpcClient {
  readonly #client: Client;
  readonly #headers: Record<string, string>;

  constructor(
    address: string,
    headers: Record<string, string> = { 'x-sallyport-client': 'test' },
    options: ClientOptions = {},
  ) {
    this.#client = new Client(address, credentials.createInsecure(), options);
    this.#headers = headers;
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(this.#headers)) metadata.set(key, value);
    return metadata;
  }

  static #path(service: DescService, method: DescMethod): string {
    return `/${service.typeName}/${method.name}`;
  }

  unary<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
    timeoutMs = 20_000,
  ): Promise<MessageShape<M['output']>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        GrpcClient.#path(method.parent, method),
        (message: MessageShape<M['input']>) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
        create(method.input, request as never) as MessageShape<M['input']>,
        this.#metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, reply) => (error ? reject(error) : resolve(reply as MessageShape<M['output']>)),
      );
    });
  }

  serverStream<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
  ): ClientReadableStream<MessageShape<M['output']>> {
    return this.#client.makeServerStreamRequest(
      GrpcClient.#path(method.parent, method),
      (message: MessageShape<M['input']>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
      create(method.input, request as never) as MessageShape<M['input']>,
      this.#metadata(),
    );
  }

  bidi<M extends DescMethod>(method: M): ClientDuplexStream<MessageInitShape<M['input']>, MessageShape<M['output']>> {
    return this.#client.makeBidiStreamRequest(
      GrpcClient.#path(method.parent, method),
      (message: MessageInitShape<M['input']>) =>
        Buffer.from(toBinary(method.input, create(method.input, message as never) as MessageShape<M['input']>)),
      (bytes: Buffer) => fromBinary(method.output, bytes) as MessageShape<M['output']>,
      this.#metadata(),
    );
  }

  close(): void {
    this.#client.close();
  }
}

/** The one ErrorInfo of a failed call. */
export function errorInfo(error: unknown): {
  readonly code: number;
  readonly reason: string;
  readonly metadata: Record<string, string>;
} {
  const { code, metadata } = error as ServiceError;
  const [bytes] = metadata?.get('grpc-status-details-bin') ?? [];
  if (!(bytes instanceof Buffer)) return { code, reason: '', metadata: {} };
  const info = fromBinary(StatusSchema, bytes).details.find((any) => any.typeUrl.endsWith('google.rpc.ErrorInfo'));
  if (!info) return { code, reason: '', metadata: {} };
  const { reason, metadata: fields } = fromBinary(ErrorInfoSchema, info.value);
  return { code, reason, metadata: fields };
}
