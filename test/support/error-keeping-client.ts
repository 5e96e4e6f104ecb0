import type { DescMethod, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { ServiceError } from '@grpc/grpc-js';
import { GrpcClient } from './grpc-client.ts';

/** A client that keeps every error as it came over the wire: message, details and trailers. */
export class ErrorKeepingClient extends GrpcClient {
  readonly errors: Buffer[] = [];

  override async unary<M extends DescMethod>(
    method: M,
    request: MessageInitShape<M['input']>,
    timeoutMs?: number,
  ): Promise<MessageShape<M['output']>> {
    try {
      return await super.unary(method, request, timeoutMs);
    } catch (error) {
      const { message, details, metadata } = error as ServiceError;
      const trailers = Object.entries(metadata?.getMap() ?? {}).flat();
      this.errors.push(...[method.name, message, details, ...trailers, '\n'].map((part) => Buffer.from(part ?? '')));
      throw error;
    }
  }
}
