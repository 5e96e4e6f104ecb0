import { describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { mount } from '#src/transport/call.ts';
import { buildEndpoints } from '#src/transport/endpoint.ts';
import { API_SERVICES, accessOf, type Method, type MethodRow, methodTable } from '#src/transport/methods.ts';
import { CountingRpcMetrics } from '../support/counting-rpc-metrics.ts';
import { fakeServices } from '../support/transport.ts';

const rows = (change: (rows: Record<string, MethodRow>) => void) => {
  const own = Object.fromEntries([...methodTable()].map(([procedure, row]) => [procedure.slice(1), row as MethodRow]));
  change(own);
  return own;
};
const method = (name: string): Method => {
  const found = methodTable().get(`/sallyport.v1.${name}`);
  if (!found) throw new Error(name);
  return found;
};

describe('the method table', () => {
  it('has a row for every RPC of the API', () => {
    for (const service of API_SERVICES) {
      for (const { name } of service.methods) expect(methodTable().has(`/${service.typeName}/${name}`)).toBe(true);
    }
  });

  it('stops the start when a row is missing', () => {
    const missing = rows((own) => delete own['sallyport.v1.SessionService/GetSession']);
    expect(() => methodTable(missing)).toThrow(/no row for sallyport.v1.SessionService\/GetSession/);
  });

  it('stops the start when a row has no RPC', () => {
    const extra = rows((own) => Object.assign(own, { 'sallyport.v1.SessionService/Steal': Object.values(own)[0] }));
    expect(() => methodTable(extra)).toThrow(/unknown RPCs: sallyport.v1.SessionService\/Steal/);
  });

  it('stops the start when a unary RPC has no deadline, or a stream has one', () => {
    const without = rows((own) =>
      Object.assign(own['sallyport.v1.SessionService/GetSession'] ?? {}, { deadlineMs: 0 }),
    );
    expect(() => methodTable(without)).toThrow(/GetSession a deadline/);
  });

  it('reads the roles from the proto, and opens an RPC without roles to nobody', () => {
    expect(method('SessionService/ValidateSession').access).toEqual(new Set(['application', 'gateway']));
    expect(method('AuditService/QueryEvents').access).toEqual(new Set(['operator']));
    for (const { access } of methodTable().values()) if (access !== 'open') expect(access.size).toBeGreaterThan(0);
  });

  it('writes refusals of every change and every operator call to the trail', () => {
    for (const { access, refusal, repeat } of methodTable().values()) {
      if (access === 'open') continue;
      if (repeat !== 'safe' || (access.size === 1 && access.has('operator'))) expect(refusal).toBe('event');
    }
  });
});

describe('endpoints', () => {
  const metrics = new CountingRpcMetrics();

  it('stop the start when an RPC of this release has no handler', () => {
    const services = fakeServices().filter(({ service }) => service !== SessionService);
    expect(() => buildEndpoints(services, metrics)).toThrow(/SessionService\/\w+ has no handler/);
    expect(() => buildEndpoints([...services, mount(SessionService, {})], metrics)).toThrow(/has no handler/);
  });

  it('stop the start when a service is mounted twice', () => {
    const [first, ...rest] = fakeServices();
    if (!first) throw new Error('no services');
    expect(() => buildEndpoints([first, first, ...rest], metrics)).toThrow(/mounted twice/);
  });

  it('stop the start when a handler is given for an RPC of a later release', () => {
    const services = fakeServices().map((mounted) =>
      mounted.service.typeName === 'sallyport.v1.AdminService'
        ? { ...mounted, handlers: { ...mounted.handlers, createPortalLink: () => ({}) } }
        : mounted,
    );
    expect(() => buildEndpoints(services, metrics)).toThrow(/CreatePortalLink has a handler, but/);
  });
});

describe('an RPC that names no role', () => {
  it('is open to nobody', () => {
    const { validateSession } = SessionService.method;
    expect(accessOf(validateSession)).not.toEqual(new Set());
    const silent = { ...validateSession, proto: { ...validateSession.proto, options: undefined } };
    expect(accessOf(silent as typeof validateSession)).toEqual(new Set());
  });
});
