import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition } from '@grpc/grpc-js';

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A method for grpc-js with the messages of protobuf-es; what a handler answers needs no other form than an init. */
export function definitionOf<M extends DescMethod>(
  method: M,
): MethodDefinition<MessageShape<M['input']>, MessageInitShape<M['output']>> {
  const streams = method.methodKind === 'bidi_streaming';
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: streams,
    responseStream: streams,
    requestDeserialize: (bytes) => fromBinary(method.input, bytes) as MessageShape<M['input']>,
    requestSerialize: (message) => asBuffer(toBinary(method.input, message as never)),
    responseSerialize: (init) => asBuffer(toBinary(method.output, create(method.output, init as never) as never)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes) as never,
  };
}
