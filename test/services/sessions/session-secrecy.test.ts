import { expect, it } from 'vitest';
import { settle } from '../../support/clock.ts';
import { APPLICATION, LAPTOP, sessionWorld } from '../../support/session-world.ts';

const id = (n: number) => `5f2c6a52-7f0e-4c6e-9b0c-2f4f1c1f9a${String(n).padStart(2, '0')}`;

it('no token, old or new, is in any event, log line, metric, fault or stored record', async () => {
  const { sessions, signIn, store, audit, log, metrics, receipts, trail, clock } = sessionWorld({ cap: 2 });
  const tokens: string[] = [];
  const faults: unknown[] = [];
  for (let n = 0; n < 4; n++) {
    const { token, session } = await signIn({ requestId: id(n), labels: { n: String(n) } });
    tokens.push(token);
    await sessions.validation.validate('default', token, { ...LAPTOP, deviceId: `d-${n}` }, APPLICATION);
    const change = { realm: 'default', token, labels: undefined, client: LAPTOP, requestId: id(50 + n) };
    const bad = receipts.give({ subject: 'eve' });
    await sessions.renewal.update({ ...change, receipt: bad }, APPLICATION).catch((error) => faults.push(error));
    const receipt = receipts.give({ purpose: 'step_up', sessionId: session.id });
    const changed = await sessions.renewal.update({ ...change, receipt }, APPLICATION);
    tokens.push(changed?.token ?? 'none');
    await sessions.validation.validate('default', token, LAPTOP, APPLICATION);
    if (n % 2 === 0) await sessions.directory.revokeByToken('default', changed?.token ?? '', APPLICATION);
    await sessions.validation.validate('default', changed?.token ?? '', LAPTOP, APPLICATION);
  }
  store.failure = new Error('away');
  await sessions.validation.authenticate('default', tokens[0] ?? '').catch((error) => faults.push(error));
  clock.advance(10_000);
  await settle();
  await trail.drain();
  const everything = [
    store.dump(),
    JSON.stringify(audit.events),
    log.lines.join('\n'),
    [...metrics.counts.keys()].join(),
  ];
  const text = [...everything, ...faults.map((fault) => `${fault} ${JSON.stringify(fault)}`)].join('\n');
  expect(faults).toHaveLength(5);
  expect(audit.events.length).toBeGreaterThan(3);
  expect(new Set(tokens).size).toBe(8);
  for (const token of tokens) {
    expect(text).not.toContain(token);
    expect(text).not.toContain(token.slice(4, 47));
  }
});
