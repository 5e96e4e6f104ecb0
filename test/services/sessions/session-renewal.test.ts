import { describe, expect, it } from 'vitest';
import type { ClientContext } from '#src/domain/caller.ts';
import type { SessionChange } from '#src/services/sessions/session-renewal.ts';
import { APPLICATION, CHROME, LAPTOP, sessionWorld } from '../../support/session-world.ts';

const REQUEST_ID = '5f2c6a52-7f0e-4c6e-9b0c-2f4f1c1f9a12';
const PHONE: ClientContext = { ...LAPTOP, userAgent: CHROME, deviceId: 'phone' };

async function signedIn() {
  const world = sessionWorld();
  const { token, session } = await world.signIn();
  await world.isGood(token);
  const update = (over: Partial<SessionChange> = {}) =>
    world.sessions.renewal.update(
      { realm: 'default', token, receipt: '', labels: undefined, client: undefined, requestId: '', ...over },
      APPLICATION,
    );
  const stepUp = (over: Parameters<typeof world.receipts.give>[0] = {}) =>
    world.receipts.give({ purpose: 'step_up', sessionId: session.id, ...over });
  return { ...world, token, session, update, stepUp };
}

describe('a step-up', () => {
  it('gives a new token, kills the old one at once, and raises the level', async () => {
    const { update, stepUp, isGood, token, session, store, clock } = await signedIn();
    const changed = await update({ receipt: stepUp({ approvedAt: clock.now() }), labels: { tab: 'x' } });
    expect(changed?.token).not.toBe(token);
    expect(changed?.session).toMatchObject({
      id: session.id,
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      mfaAt: clock.now(),
      expiresAt: session.expiresAt,
      labels: { tab: 'x' },
    });
    expect(await isGood(token)).toBe(false);
    expect(await isGood(changed?.token ?? '')).toBe(true);
    expect(store.events.at(-1)).toMatchObject({
      type: 'session.stepped_up',
      sessionId: session.id,
      outcome: 'SUCCESS',
    });
  });

  it('works with an ACTION receipt of the session as well', async () => {
    const { update, stepUp } = await signedIn();
    expect((await update({ receipt: stepUp({ purpose: 'action' }) }))?.session.acr).toBe('aal2');
  });

  it('keeps what was proven before, and never lowers the level', async () => {
    const { update, stepUp, receipts, session } = await signedIn();
    const strong = stepUp({ amr: ['hwk', 'user', 'mfa'], acr: 'aal3', approvedAt: 9_000 });
    const first = await update({ receipt: strong });
    const weaker = receipts.give({ purpose: 'step_up', sessionId: session.id, approvedAt: 8_000 });
    const second = await update({ token: first?.token ?? '', receipt: weaker });
    expect(second?.session).toMatchObject({ amr: ['hwk', 'user', 'mfa', 'otp'], acr: 'aal3', mfaAt: 9_000 });
  });

  it.each([
    ['another session', { sessionId: 'ses_0000000000000000000000000g' }, 'session'],
    ['no session', { sessionId: '' }, 'session'],
    ['another person', { subject: 'eve' }, 'subject'],
    ['another audience', { audience: 'ledger' }, 'audience'],
    ['a login', { purpose: 'login' as const }, 'purpose'],
    ['a factor change', { purpose: 'factor_change' as const }, 'purpose'],
  ])('is refused with a receipt of %s, and the token lives on', async (_, claims, part) => {
    const { update, stepUp, isGood, token } = await signedIn();
    await expect(update({ receipt: stepUp(claims) })).rejects.toMatchObject({
      kind: 'denied',
      reason: 'RECEIPT_MISMATCH',
      details: { metadata: { part } },
    });
    expect(await isGood(token)).toBe(true);
  });

  it('raises nothing when the receipt was approved without a proof', async () => {
    const { update, receipts, session } = await signedIn();
    const receipt = receipts.giveUnproven({
      purpose: 'step_up',
      sessionId: session.id,
      approvalReason: 'NOT_REQUIRED',
    });
    const changed = await update({ receipt });
    expect(changed?.session).toMatchObject({ amr: [], acr: 'aal1' });
    expect(changed?.session.mfaAt).toBeUndefined();
  });

  it('spends its receipt: of 50 parallel ones a single one rotates', async () => {
    const { update, stepUp, store } = await signedIn();
    const receipt = stepUp();
    const results = await Promise.allSettled(Array.from({ length: 50 }, () => update({ receipt })));
    const granted = results.flatMap((result) => (result.status === 'fulfilled' && result.value ? [result.value] : []));
    expect(granted).toHaveLength(1);
    expect(store.events.filter(({ type }) => type === 'session.stepped_up')).toHaveLength(1);
  });

  it('is refused with a spent receipt', async () => {
    const { update, stepUp } = await signedIn();
    const receipt = stepUp();
    const changed = await update({ receipt });
    await expect(update({ token: changed?.token ?? '', receipt })).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'RECEIPT_REDEEMED',
    });
  });

  it('answers a repeat with the same new token, though the old one is dead', async () => {
    const { update, stepUp, store } = await signedIn();
    const change = { receipt: stepUp(), requestId: REQUEST_ID };
    const results = await Promise.all(Array.from({ length: 20 }, () => update(change)));
    const later = await update(change);
    expect(new Set([...results, later].map((result) => result?.token)).size).toBe(1);
    expect(later?.session.acr).toBe('aal2');
    expect(store.events.filter(({ type }) => type === 'session.stepped_up')).toHaveLength(1);
  });

  it('answers a dead token with nothing when the request is no repeat', async () => {
    const { update, stepUp, sessions, token } = await signedIn();
    const receipt = stepUp();
    await sessions.directory.revokeByToken('default', token, APPLICATION);
    expect(await update({ receipt, requestId: REQUEST_ID })).toBeUndefined();
    expect(await update({ receipt })).toBeUndefined();
    expect(await update({ token: 'nonsense', receipt, requestId: REQUEST_ID })).toBeUndefined();
  });

  it('refuses a request id that was used for another step-up, with an event', async () => {
    const { update, stepUp, trail, audit } = await signedIn();
    await update({ receipt: stepUp(), requestId: REQUEST_ID });
    await expect(update({ receipt: stepUp(), requestId: REQUEST_ID })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    await trail.drain();
    expect(audit.events).toMatchObject([{ type: 'session.refused', reason: 'REQUEST_ID_REUSED' }]);
  });
});

describe('a step-up that signals asked for', () => {
  it('is over with a real proof, which also makes the new connection the known one', async () => {
    const { update, stepUp, sessions, token } = await signedIn();
    const check = (of: string, client: ClientContext) =>
      sessions.validation.validate('default', of, client, APPLICATION);
    expect(await check(token, PHONE)).toMatchObject({ stepUpRequired: true });
    const changed = await update({ receipt: stepUp(), client: PHONE });
    const next = changed?.token ?? '';
    expect(await check(next, PHONE)).toMatchObject({ signals: [], stepUpRequired: false });
    expect(await check(next, LAPTOP)).toMatchObject({ signals: ['AGENT_CHANGED', 'DEVICE_CHANGED'] });
  });

  it.each([
    ['NOT_REQUIRED', true],
    ['TRUSTED_DEVICE', true],
    ['MFA_DISABLED', false],
  ])('after an approval by %s is still required: %s', async (approvalReason, expected) => {
    const { update, receipts, sessions, session, token } = await signedIn();
    await sessions.validation.validate('default', token, PHONE, APPLICATION);
    const receipt = receipts.giveUnproven({ purpose: 'step_up', sessionId: session.id, approvalReason });
    const changed = await update({ receipt });
    expect(await sessions.validation.validate('default', changed?.token ?? '', undefined, APPLICATION)).toMatchObject({
      stepUpRequired: expected,
    });
  });
});

describe('new labels', () => {
  it('show at once, also where the session is warm', async () => {
    const { update, sessions, token, store } = await signedIn();
    expect(await update({ labels: { theme: 'dark' } })).toMatchObject({
      token: '',
      session: { labels: { theme: 'dark' } },
    });
    expect(await sessions.validation.validate('default', token, undefined, APPLICATION)).toMatchObject({
      session: { labels: { theme: 'dark' } },
    });
    expect(store.events.at(-1)).toMatchObject({ type: 'session.updated', facts: { changed: 'labels' } });
  });

  it('change nothing when there are none to set', async () => {
    const { update, store } = await signedIn();
    const before = store.events.length;
    expect(await update()).toMatchObject({ token: '' });
    expect(store.events).toHaveLength(before);
  });

  it('need a good token', async () => {
    const { update, sessions, token } = await signedIn();
    await sessions.directory.revokeByToken('default', token, APPLICATION);
    expect(await update({ labels: { a: 'b' } })).toBeUndefined();
  });
});
