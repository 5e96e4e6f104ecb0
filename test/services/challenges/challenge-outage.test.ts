import { describe, expect, it } from 'vitest';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { APP, challengeWorld, openCommand } from '../../support/challenge-world.ts';
import { STRICT_LIMITS } from '../../support/outage-cells.ts';
import { policyRule } from '../../support/policies.ts';

const AWAY = { kind: 'unavailable', reason: 'STORE_UNAVAILABLE' };

describe('opening a challenge in an outage', () => {
  it('goes on without Redis by default', async () => {
    const { challenges, dependencies } = challengeWorld();
    dependencies.leave('redis');
    expect((await challenges.open(APP, openCommand())).challenge.state).toBe('PENDING');
  });

  it.each(SENSITIVITIES)(
    'is refused without PostgreSQL for %s actions, though the policy asks for nothing',
    async (sensitivity) => {
      const { challenges, dependencies, state, events } = challengeWorld({ policy: { mfaEnabled: false } });
      dependencies.leave('postgres');
      await expect(challenges.open(APP, openCommand({ sensitivity }))).rejects.toMatchObject(AWAY);
      expect(state.challenges.size).toBe(0);
      expect(events().filter(({ type }) => type.startsWith('challenge.'))).toEqual([]);
    },
  );

  it('is refused without Redis where the settings say so, by the sensitivity that the policy sees', async () => {
    const rules = [policyRule({ match: { action: 'transfer.*' }, sensitivity: 'critical' })];
    const { challenges, dependencies } = challengeWorld({ policy: { rules }, limits: STRICT_LIMITS });
    const transfer = openCommand({ sensitivity: 'low' });
    const look = openCommand({ sensitivity: 'low', action: { ...transfer.action, action: 'account.read' } });
    dependencies.leave('redis');
    await expect(challenges.open(APP, transfer)).rejects.toMatchObject({
      ...AWAY,
      details: { metadata: { dependency: 'redis', sensitivity: 'critical' } },
    });
    expect((await challenges.open(APP, look)).challenge.state).toBe('APPROVED');
    dependencies.comeBack('redis');
    expect((await challenges.open(APP, transfer)).challenge.state).toBe('PENDING');
  });
});
