import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Role } from '#src/domain/caller.ts';
import { methodTable } from '#src/transport/methods.ts';
import { frame, RawGrpc } from '../support/raw-grpc.ts';
import { OPERATOR_TOKEN, serveGrpc } from '../support/transport.ts';

/** Every caller there can be: the roles of its listener, and whether it shows the operator token. */
const CALLERS: readonly { readonly name: string; readonly roles: readonly Role[]; readonly token: boolean }[] = [
  { name: 'nobody', roles: [], token: false },
  { name: 'application', roles: ['application'], token: false },
  { name: 'gateway', roles: ['gateway'], token: false },
  { name: 'portal', roles: ['portal'], token: false },
  { name: 'an operator', roles: [], token: true },
];

describe.each(CALLERS)('$name', ({ roles, token }) => {
  let served: Awaited<ReturnType<typeof serveGrpc>>;
  let raw: RawGrpc;

  beforeAll(async () => {
    served = await serveGrpc({ roles });
    raw = new RawGrpc(served.address);
  });
  afterAll(async () => {
    raw[Symbol.dispose]();
    await served.server.drain(0);
  });

  const held = new Set<Role>([...roles, ...(token ? (['operator'] as const) : [])]);
  const rpcs = [...methodTable().values()].filter(({ access }) => access !== 'open');

  it.each(rpcs.map((method) => [method.procedure.slice(1), method] as const))(
    'and %s',
    async (procedure, { access }) => {
      const authorization = token ? { authorization: `Bearer ${OPERATOR_TOKEN}` } : {};
      const answer = await raw.call(procedure, frame(new Uint8Array()), authorization);
      if (access !== 'open' && access.isDisjointFrom(held)) {
        expect(answer).toMatchObject({ code: 7, reason: 'ROLE_MISSING' });
      } else {
        expect(answer.code).not.toBe(7);
        expect(answer.reason).not.toBe('ROLE_MISSING');
      }
    },
  );
});
