import {
  createFileRegistry,
  createRegistry,
  type DescService,
  fromBinary,
  getOption,
  toBinary,
} from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema, MethodOptionsSchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import { ServerReflection } from '#src/gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ServerReflectionAlpha } from '#src/gen/grpc/reflection/v1alpha/reflection_pb.js';
import { Health } from '#src/gen/health/v1/health_pb.js';
import { access, Role } from '#src/gen/sallyport/v1/options_pb.js';
import { HealthService } from '#src/transport/health/health.ts';
import { API_SERVICES } from '#src/transport/methods.ts';
import { reflection } from '#src/transport/reflection/reflection.ts';
import { GrpcClient } from '../support/grpc-client.ts';
import { frame, RawGrpc } from '../support/raw-grpc.ts';
import { serveGrpc } from '../support/transport.ts';

const mounted = () => [new HealthService().mounted, ...reflection([...API_SERVICES, Health])];

type Query = { case: string; value: unknown };
type Answer = { messageResponse: { case: string; value: unknown }; originalRequest: unknown; validHost: string };

/** Asks one question after the other on one stream. */
async function ask(service: DescService, queries: readonly Query[]): Promise<Answer[]> {
  const { server, address } = await serveGrpc({ mounted: mounted() });
  const client = new GrpcClient(address, {});
  const [method] = service.methods;
  if (!method) throw new Error('no method');
  const stream = client.bidi(method);
  for (const messageRequest of queries) stream.write({ host: 'here', messageRequest } as never);
  stream.end();
  const answers: Answer[] = [];
  for await (const one of stream) answers.push(one as Answer);
  client.close();
  await server.drain(0);
  return answers;
}

const filesOf = (answer: Answer | undefined): FileDescriptorProto[] => {
  expect(answer?.messageResponse.case).toBe('fileDescriptorResponse');
  const value = answer?.messageResponse.value as { fileDescriptorProto: Uint8Array[] } | undefined;
  return (value?.fileDescriptorProto ?? []).map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
};

describe.each([
  ['v1', ServerReflection],
  ['v1alpha', ServerReflectionAlpha],
] as const)('server reflection %s', (_version, service) => {
  it('lists every service, with health and itself', async () => {
    const [answer] = await ask(service, [{ case: 'listServices', value: '' }]);
    const value = answer?.messageResponse.value as { service: { name: string }[] } | undefined;
    expect(value?.service.map(({ name }) => name)).toEqual(
      [...API_SERVICES, Health, ServerReflection, ServerReflectionAlpha].map(({ typeName }) => typeName).toSorted(),
    );
  });

  it('serves files that link without anything else, with their custom options', async () => {
    const symbols = [...API_SERVICES, Health, ServerReflection, ServerReflectionAlpha].map(({ typeName }) => typeName);
    const answers = await ask(
      service,
      symbols.map((value) => ({ case: 'fileContainingSymbol', value })),
    );
    const files = new Map(answers.flatMap(filesOf).map((file) => [file.name, file]));
    const registries = [...files.values()].map((file) => createFileRegistry(file, (name) => files.get(name)));
    const registry = createRegistry(...registries);
    for (const symbol of symbols) expect(registry.getService(symbol)?.methods.length).toBeGreaterThan(0);
    const query = registry.getService('sallyport.v1.AuditService')?.method['queryEvents'];
    if (!query?.proto.options) throw new Error('no options');
    const options = fromBinary(MethodOptionsSchema, toBinary(MethodOptionsSchema, query.proto.options));
    expect(options.$unknown?.map(({ no }) => no)).toContain(access.number);
    expect(getOption(query, access).roles).toEqual([Role.OPERATOR]);
  });

  it('finds every import by its name', async () => {
    const first = await ask(service, [{ case: 'fileByFilename', value: 'sallyport/v1/challenge.proto' }]);
    const imports = [...new Set(filesOf(first[0]).flatMap((file) => file.dependency))];
    expect(imports).toContain('google/protobuf/descriptor.proto');
    const answers = await ask(
      service,
      imports.map((value) => ({ case: 'fileByFilename', value })),
    );
    expect(answers.map((answer) => filesOf(answer)[0]?.name)).toEqual(imports);
  });

  it.each([
    ['a method', 'sallyport.v1.SessionService.GetSession', 'sallyport/v1/session.proto'],
    ['a message', 'sallyport.v1.Challenge', 'sallyport/v1/challenge.proto'],
    ['a nested message', 'sallyport.v1.VerifyChallengeRequest.Resume', 'sallyport/v1/challenge.proto'],
    ['a field', 'sallyport.v1.Challenge.subject', 'sallyport/v1/challenge.proto'],
    ['a oneof', 'sallyport.v1.Proof.kind', 'sallyport/v1/challenge.proto'],
    ['an enum', 'sallyport.v1.Method', 'sallyport/v1/common.proto'],
    ['an enum value', 'sallyport.v1.METHOD_TOTP', 'sallyport/v1/common.proto'],
    ['an extension', 'sallyport.v1.access', 'sallyport/v1/options.proto'],
  ])('finds %s', async (_what, value, file) => {
    const [answer] = await ask(service, [{ case: 'fileContainingSymbol', value }]);
    expect(filesOf(answer)[0]?.name).toBe(file);
  });

  it('finds extensions by their number', async () => {
    const extension = { containingType: 'google.protobuf.MethodOptions', extensionNumber: 50601 };
    const [numbers, file, none, unknown] = await ask(service, [
      { case: 'allExtensionNumbersOfType', value: 'google.protobuf.MethodOptions' },
      { case: 'fileContainingExtension', value: extension },
      { case: 'allExtensionNumbersOfType', value: 'sallyport.v1.Challenge' },
      { case: 'allExtensionNumbersOfType', value: 'nope' },
    ]);
    expect(numbers?.messageResponse.value).toMatchObject({ extensionNumber: [50601] });
    expect(filesOf(file)[0]?.name).toBe('sallyport/v1/options.proto');
    expect(file?.originalRequest).toMatchObject({
      host: 'here',
      messageRequest: { case: 'fileContainingExtension', value: extension },
    });
    expect(none?.messageResponse.value).toMatchObject({ extensionNumber: [] });
    expect(unknown?.messageResponse).toMatchObject({ case: 'errorResponse', value: { errorCode: 5 } });
  });

  it('answers what is unknown inside the stream, and goes on', async () => {
    const answers = await ask(service, [
      { case: 'fileContainingSymbol', value: 'sallyport.v1.Nope' },
      { case: 'fileByFilename', value: 'sallyport/v1/challenge' },
      { case: 'fileContainingExtension', value: { containingType: 'nope', extensionNumber: 1 } },
      { case: 'listServices', value: '' },
    ]);
    expect(answers.map(({ messageResponse }) => messageResponse.case)).toEqual([
      'errorResponse',
      'errorResponse',
      'errorResponse',
      'listServicesResponse',
    ]);
  });

  it('sends an import once per stream, and what is asked for every time', async () => {
    const query = { case: 'fileByFilename', value: 'sallyport/v1/session.proto' };
    const [first, second] = (await ask(service, [query, query])).map(filesOf);
    expect(first?.length).toBeGreaterThan(3);
    expect(second?.map(({ name }) => name)).toEqual(['sallyport/v1/session.proto']);
  });
});

describe('without reflection', () => {
  it('the service is not there', async () => {
    const { server, address } = await serveGrpc();
    using raw = new RawGrpc(address);
    const answer = await raw.call('grpc.reflection.v1.ServerReflection/ServerReflectionInfo', frame(new Uint8Array()));
    expect(answer.code).toBe(12);
    await server.drain(0);
  });
});
