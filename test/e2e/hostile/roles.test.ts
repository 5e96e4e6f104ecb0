import { getOption } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { access, Role } from '#src/gen/sallyport/v1/options_pb.js';
import { API_SERVICES } from '#src/transport/methods.ts';
import { connectCall } from '../../support/connect-call.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { eventually, factOf } from '../../support/trail-of.ts';

const UNAUTHENTICATED = 16;
const DENIED = 7;

/** Every RPC of the API with the roles that its proto names: the descriptors are the rule, the server must follow. */
const rpcs = API_SERVICES.flatMap((service) =>
  service.methods.map((method) => ({
    procedure: `${service.typeName}/${method.name}`,
    kind: method.methodKind,
    roles: new Set(getOption(method, access).roles),
  })),
);

let sidecar: Sidecar;
let raw: RawGrpc;
beforeAll(async () => {
  // The second listener gives one role only.
  sidecar = await Sidecar.start({ env: { SALLYPORT_LISTENERS_HTTP_ROLES: '["gateway"]' } });
  raw = new RawGrpc(sidecar.grpcAddress);
});
afterAll(async () => {
  raw[Symbol.dispose]();
  await sidecar[Symbol.asyncDispose]();
});

const overGrpc = (procedure: string, authorization?: string) =>
  raw.call(procedure, frame(Buffer.alloc(0)), {
    // Streams that are let in go on until their deadline.
    'grpc-timeout': '300m',
    ...(authorization === undefined ? {} : { authorization }),
  });

describe('roles', () => {
  it('has the whole API before it', () => {
    expect(rpcs.length).toBeGreaterThan(35);
    expect(rpcs.filter(({ roles }) => roles.size === 0)).toEqual([]);
  });

  it.each(rpcs)(
    'lets application and gateway at $procedure only if its proto says so',
    async ({ procedure, roles }) => {
      const allowed = roles.has(Role.APPLICATION) || roles.has(Role.GATEWAY);
      const answer = await overGrpc(procedure);
      if (allowed) expect(['ROLE_MISSING', 'CALLER_UNKNOWN']).not.toContain(answer.reason);
      else expect(answer).toMatchObject({ code: DENIED, reason: 'ROLE_MISSING' });
    },
  );

  it.each(rpcs)(
    'lets operators at $procedure only if its proto names one of their roles',
    async ({ procedure, roles }) => {
      const held = [Role.APPLICATION, Role.GATEWAY, Role.OPERATOR];
      const answer = await overGrpc(procedure, `Bearer ${sidecar.operatorToken}`);
      if (held.some((role) => roles.has(role))) expect(['ROLE_MISSING', 'CALLER_UNKNOWN']).not.toContain(answer.reason);
      else expect(answer).toMatchObject({ code: DENIED, reason: 'ROLE_MISSING' });
    },
  );

  it.each(rpcs)(
    'serves $procedure to nobody who shows a wrong token, whatever the listener grants',
    async ({ procedure }) => {
      for (const authorization of ['Bearer wrong', 'Bearer', `bearer ${'A'.repeat(43)}`]) {
        expect(await overGrpc(procedure, authorization)).toMatchObject({
          code: UNAUTHENTICATED,
          reason: 'CALLER_UNKNOWN',
        });
      }
    },
  );

  it.each(rpcs.filter(({ kind }) => kind === 'unary'))(
    'keeps $procedure from a listener that grants the gateway role alone, unless it is for gateways',
    async ({ procedure, roles }) => {
      const answer = await connectCall(sidecar.httpUrl, procedure, {});
      if (roles.has(Role.GATEWAY)) expect(['ROLE_MISSING', 'CALLER_UNKNOWN']).not.toContain(answer.reason);
      else expect(answer).toMatchObject({ status: 403, code: 'permission_denied', reason: 'ROLE_MISSING' });
      const wrong = await connectCall(sidecar.httpUrl, procedure, {}, { authorization: 'Bearer wrong' });
      expect(wrong).toMatchObject({ status: 401, reason: 'CALLER_UNKNOWN' });
    },
  );

  it('writes refused callers down, with the RPC they wanted', async () => {
    const refused = await eventually(
      sidecar,
      { types: ['caller.refused'] },
      (event) => event.reason === 'ROLE_MISSING' && event.caller === 'grpc',
    );
    expect(refused.map((event) => factOf(event, 'procedure'))).toContain('sallyport.v1.AuditService/QueryEvents');
    const unknown = await eventually(
      sidecar,
      { types: ['caller.refused'] },
      (event) => event.reason === 'CALLER_UNKNOWN' && event.caller === 'http',
    );
    expect(unknown.length).toBeGreaterThan(0);
  });
});
