import { describe, expect, it } from 'vitest';
import type { Sensitivity } from '#src/domain/action.ts';
import { MINUTE } from '#src/domain/time.ts';
import { APPLICATION, LAPTOP, sessionWorld } from '../../support/session-world.ts';

const AWAY = { kind: 'unavailable', reason: 'STORE_UNAVAILABLE' };

function world(options?: Parameters<typeof sessionWorld>[0]) {
  const made = sessionWorld(options);
  const validate = (token: string, sensitivity?: Sensitivity) =>
    made.sessions.validation.validate('default', token, undefined, APPLICATION, sensitivity);
  return { ...made, validate };
}

describe('validating a token in an outage', () => {
  it('answers a known session at once and from memory, up to the limit of its use', async () => {
    const { clock, dependencies, signIn, store, validate } = world();
    const { token, session } = await signIn();
    await validate(token);
    const before = new Map(store.calls);
    dependencies.leave('postgres');
    clock.advance(5 * MINUTE - 1);
    const warm = validate(token, 'normal');
    expect(warm).not.toBeInstanceOf(Promise);
    expect(warm).toMatchObject({ session: { id: session.id } });
    clock.advance(1);
    expect(() => validate(token, 'normal')).toThrow(expect.objectContaining(AWAY));
    expect(validate(token, 'low')).toMatchObject({ session: { id: session.id } });
    expect(store.calls).toEqual(before);
  });

  it('takes use that says nothing for normal use', async () => {
    const { clock, dependencies, signIn, validate } = world();
    const { token } = await signIn();
    await validate(token);
    dependencies.leave('postgres');
    clock.advance(5 * MINUTE - 1);
    expect(validate(token)).toBeDefined();
    clock.advance(1);
    expect(() => validate(token)).toThrow(expect.objectContaining(AWAY));
  });

  it('refuses what an outage that began while the store was read does not let go on', async () => {
    const { dependencies, signIn, validate } = world({ cacheEntries: 0 });
    const { token } = await signIn();
    const critical = validate(token, 'critical');
    const low = validate(token, 'low');
    dependencies.leave('postgres');
    await expect(critical).rejects.toMatchObject(AWAY);
    expect(await low).toBeDefined();
  });

  it('never lets a refusal in an outage pass for the end of the session', async () => {
    const { dependencies, signIn, isGood, sessions, audit, eventTypes } = world();
    const { token } = await signIn();
    dependencies.leave('redis', 'postgres');
    await expect(isGood(token, LAPTOP)).rejects.toMatchObject(AWAY);
    dependencies.comeBack('redis', 'postgres');
    expect(await isGood(token, LAPTOP)).toBe(true);
    expect(audit.events.map(({ type }) => type)).not.toContain('session.rejected');
    expect(eventTypes()).not.toContain('session.ended');
    expect(await sessions.validation.authenticate('default', token)).toBeDefined();
  });
});
