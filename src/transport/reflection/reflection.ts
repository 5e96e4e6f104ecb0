import type { DescFile, DescService, MessageInitShape } from '@bufbuild/protobuf';
import { file_google_rpc_error_details } from '../../gen/google/rpc/error_details_pb.js';
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponseSchema,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import {
  ServerReflection as ServerReflectionAlpha,
  type ServerReflectionRequest as ServerReflectionRequestAlpha,
} from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { type Mounted, mount } from '../call.ts';
import { DescriptorIndex } from './descriptor-index.ts';

type Request = ServerReflectionRequest | ServerReflectionRequestAlpha;
/** v1 and v1alpha have the same fields, and an init names no types. */
type Response = MessageInitShape<typeof ServerReflectionResponseSchema>;

const NOT_FOUND = 5;
const INVALID_ARGUMENT = 3;

/**
 * Server reflection, v1 and v1alpha, for the given services and for itself. Files come with everything they import that
 * was not sent on the stream before. What is not found is an answer, as the protocol wants it, not the end of the stream.
 */
export function reflection(services: readonly DescService[]): readonly Mounted[] {
  let built: DescriptorIndex | undefined;
  const index = () => {
    built ??= new DescriptorIndex(
      [...services, ServerReflection, ServerReflectionAlpha],
      // Error details travel as Any: with their types at hand, clients show them instead of bytes.
      [file_google_rpc_error_details],
    );
    return built;
  };
  const answers = async function* (requests: AsyncIterable<Request>): AsyncGenerator<Response> {
    const sent = new Set<DescFile>();
    for await (const request of requests) yield answer(index(), request, sent);
  };
  return [
    mount(ServerReflection, { serverReflectionInfo: answers }),
    mount(ServerReflectionAlpha, {
      serverReflectionInfo: answers as unknown as (requests: AsyncIterable<Request>) => AsyncIterable<never>,
    }),
  ];
}

function answer(index: DescriptorIndex, request: Request, sent: Set<DescFile>): Response {
  const { host, messageRequest: query } = request;
  const originalRequest = { host, messageRequest: withoutType(query) };
  return { validHost: host, originalRequest, messageResponse: find(index, query, sent) };
}

function find(
  index: DescriptorIndex,
  query: Request['messageRequest'],
  sent: Set<DescFile>,
): NonNullable<Response['messageResponse']> {
  switch (query.case) {
    case 'listServices':
      return { case: 'listServicesResponse', value: { service: index.services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return files(index, index.fileByName(query.value), sent, 'file');
    case 'fileContainingSymbol':
      return files(index, index.fileBySymbol(query.value), sent, 'symbol');
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = query.value;
      return files(index, index.fileByExtension(containingType, extensionNumber), sent, 'extension');
    }
    case 'allExtensionNumbersOfType': {
      const numbers = index.extensionNumbers(query.value);
      if (!numbers) return missing(NOT_FOUND, 'no such message type');
      return {
        case: 'allExtensionNumbersResponse',
        value: { baseTypeName: query.value, extensionNumber: [...numbers] },
      };
    }
    default:
      return missing(INVALID_ARGUMENT, 'the request asks for nothing that is known here');
  }
}

function files(
  index: DescriptorIndex,
  file: DescFile | undefined,
  sent: Set<DescFile>,
  what: string,
): NonNullable<Response['messageResponse']> {
  if (!file) return missing(NOT_FOUND, `no such ${what}`);
  // What is asked for is sent, even again; what it imports only once.
  sent.delete(file);
  const fileDescriptorProto: Uint8Array[] = [];
  const add = (one: DescFile) => {
    if (sent.has(one)) return;
    sent.add(one);
    fileDescriptorProto.push(index.bytes(one));
    for (const dependency of one.dependencies) add(dependency);
  };
  add(file);
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function missing(errorCode: number, errorMessage: string): NonNullable<Response['messageResponse']> {
  return { case: 'errorResponse', value: { errorCode, errorMessage } };
}

/** The same query as an init that fits both versions. */
function withoutType(
  query: Request['messageRequest'],
): NonNullable<NonNullable<Response['originalRequest']>['messageRequest']> {
  if (query.case !== 'fileContainingExtension') return query;
  const { containingType, extensionNumber } = query.value;
  return { case: query.case, value: { containingType, extensionNumber } };
}
