import { describe, expect, it } from 'vitest';
import type { Role } from '#src/domain/caller.ts';
import { Served } from '../support/transport.ts';

function endpointOf(name: string) {
  const endpoint = new Served().endpoints.get(`/sallyport.v1.${name}`);
  if (!endpoint) throw new Error(`${name} is not served`);
  return endpoint;
}

describe('the roles of an endpoint', () => {
  it('are looked at for each caller, whoever was let in before', () => {
    const query = endpointOf('AuditService/QueryEvents');
    const operators: ReadonlySet<Role> = new Set(['application', 'operator']);
    const application: ReadonlySet<Role> = new Set(['application']);
    expect(query.admits(application)).toBe(false);
    for (let round = 0; round < 3; round += 1) {
      expect(query.admits(operators)).toBe(true);
      expect(query.admits(application)).toBe(false);
      expect(query.admits(new Set())).toBe(false);
    }
  });
});

describe('a request that cannot be read', () => {
  const validate = endpointOf('SessionService/ValidateSession');
  const faultOf = (work: () => unknown): unknown => {
    try {
      return work();
    } catch (fault) {
      return fault;
    }
  };

  it.each([
    ['no JSON', Buffer.from('hunter2-is-my-password')],
    ['JSON of another type', Buffer.from('"hunter2-is-my-password"')],
    ['a field of another type', Buffer.from('{"token":{"hunter2-is-my-password":1}}')],
    ['an enum by a name that is not known', Buffer.from('{"client":"hunter2-is-my-password"}')],
    [
      'text that is not UTF-8',
      Buffer.concat([Buffer.from('{"token":"hunter2-is-my-password'), Buffer.from([0xff, 0x22, 0x7d])]),
    ],
  ])('is refused and not repeated: %s', (_, bytes) => {
    const fault = faultOf(() => validate.decodeJson(bytes));
    expect(fault).toMatchObject({ kind: 'invalid', reason: 'FIELD_INVALID' });
    const { message, details } = fault as { message: string; details: { violations: unknown; metadata?: unknown } };
    expect(JSON.stringify([message, details.violations, details.metadata ?? {}])).not.toContain('hunter2');
  });

  it('is refused as bytes too', () => {
    expect(faultOf(() => validate.decode(Buffer.from('hunter2-is-my-password')))).toMatchObject({
      kind: 'invalid',
      reason: 'FIELD_INVALID',
    });
  });
});
