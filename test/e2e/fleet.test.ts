import { describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from '../support/eventually.ts';
import { startFleet } from '../support/fleet.ts';
import type { RedisKind } from '../support/fleet-redis.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { signIn } from '../support/people.ts';

describe('a fleet of sidecars', () => {
  it.each<RedisKind | 'none'>(['single', 'sentinel', 'cluster', 'none'])(
    'is one product over Redis %s: a session of A is good at B, and refused there soon after it ended at C',
    async (redis) => {
      await using fleet = await startFleet({ redis, auditRole: true, settings: UNHURRIED });
      const [a, b, c] = [fleet.client(0), fleet.client(1), fleet.client(2)];
      const { token, sessionId } = await signIn(a, 'ada');
      const found = await b.unary(SessionService.method.validateSession, { token });
      expect(found.session?.id).toBe(sessionId);
      await c.unary(SessionService.method.revokeSession, { session: { case: 'token', value: token } });
      const refused = () =>
        b.unary(SessionService.method.validateSession, { token }).then(
          () => false,
          (error: unknown) => String(error).includes('UNAUTHENTICATED'),
        );
      expect(await eventually('a refusal at B', refused)).toBeLessThan(redis === 'none' ? 1_000 : 500);
    },
  );

  it('works through a pooler and proxies, and a sidecar that was killed comes back in its place', async () => {
    await using fleet = await startFleet({ sidecars: 2, pooler: true, proxies: true, settings: UNHURRIED });
    const { token, sessionId } = await signIn(fleet.client(0), 'ada');
    expect(fleet.paths(0).postgres.accepted).toBeGreaterThan(0);
    expect(fleet.paths(0).redis?.accepted).toBeGreaterThan(0);
    const { ports } = fleet.sidecar(0);
    await fleet.kill(0);
    await expect(fleet.client(1).unary(SessionService.method.validateSession, { token })).resolves.toBeDefined();
    const again = await fleet.restart(0);
    expect(again.ports).toEqual(ports);
    const found = await again.client().unary(SessionService.method.validateSession, { token });
    expect(found.session?.id).toBe(sessionId);
  });
});
