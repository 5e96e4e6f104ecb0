import { describe, expect, it } from 'vitest';
import type { SubjectKey } from '#src/adapters/audit/contract.ts';
import { TrailKeys } from '#src/adapters/local/trail-keys.ts';
import { settle } from '../../support/clock.ts';
import { presentEvent } from '../../support/local-trail.ts';
import { MemoryCentral } from '../../support/memory-central.ts';
import { SeededRandom } from '../../support/random.ts';
import { REALM } from '../../support/store-samples.ts';

function bench({ maxCached = 100 } = {}) {
  const central = new MemoryCentral();
  let now = 0;
  const keys = new TrailKeys({
    central,
    random: new SeededRandom('keys'),
    timeoutMs: 30,
    maxCached,
    now: () => now,
    markOf: (realm, subject) => `mark of ${realm} ${subject}`,
  });
  const of = async (subject: string) => {
    const [key] = await keys.keysOf([presentEvent('session.created', { subject })]);
    if (!key) throw new Error('no key');
    return key;
  };
  return {
    central,
    keys,
    of,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe('keys ahead of their events', () => {
  it('are none for events that tell of nobody', async () => {
    const { keys, central } = bench();
    expect(await keys.keysOf([presentEvent('sidecar.started', { realm: '' })])).toEqual([]);
    expect(central.asked).toEqual([]);
  });

  it('are one for each person, and one for the unknown people of a realm', async () => {
    const { keys } = bench();
    const found = await keys.keysOf([
      presentEvent('session.created', { subject: 'kim' }),
      presentEvent('session.created', { subject: 'kim', realm: 'other' }),
      presentEvent('session.ended', { subject: 'kim' }),
      presentEvent('session.rejected', { ipAddress: '192.0.2.1' }),
    ]);
    expect(found.map(({ realm, subject }) => [realm, subject])).toEqual([
      [REALM, 'kim'],
      ['other', 'kim'],
      [REALM, ''],
    ]);
    expect(new Set(found.map(({ ref }) => ref)).size).toBe(3);
  });

  it('are the same for all who wait while central storage does not answer, and give way to what it says later', async () => {
    const { central, of } = bench();
    const { promise, resolve } = Promise.withResolvers<SubjectKey>();
    central.of = () => promise;
    const [one, two] = await Promise.all([of('kim'), of('kim')]);
    expect(one).toEqual(two);
    expect(one.provisional).toBe(true);
    expect(await of('kim')).toEqual(one);
    resolve({ realm: REALM, subject: 'kim', ref: 'central', key: new Uint8Array(32) });
    await settle();
    expect(await of('kim')).toMatchObject({ ref: 'central', provisional: false });
  });

  it('are those that have come when the process was held up, however late it is', async () => {
    const { of } = bench();
    const asked = of('kim');
    const end = performance.now() + 100;
    while (performance.now() < end);
    expect(await asked).toMatchObject({ provisional: false });
  });

  it('that were made here stay the same through an outage, and are asked for now and then', async () => {
    const { central, of, pass } = bench();
    central.condition = 'down';
    const made = await of('kim');
    pass(4_000);
    expect((await of('kim')).ref).toBe(made.ref);
    expect(central.asked).toHaveLength(1);
    pass(2_000);
    expect((await of('kim')).ref).toBe(made.ref);
    await settle();
    expect(central.asked).toHaveLength(2);
    central.condition = 'up';
    pass(6_000);
    await of('kim');
    await settle();
    expect(await of('kim')).toMatchObject({ provisional: false });
  });

  it('need not go with the events again once they were uploaded', async () => {
    const { central, keys, of } = bench();
    central.condition = 'down';
    const made = await of('kim');
    keys.uploaded(new Set([made.ref]));
    expect(await of('kim')).toEqual({ ...made, provisional: false });
  });

  it('are asked for anew after a while, behind the back of those who use them', async () => {
    const { central, of, pass } = bench();
    const first = await of('kim');
    central.subjectKeys.delete(first.ref);
    pass(6 * 60_000);
    expect(await of('kim')).toEqual(first);
    await settle();
    expect((await of('kim')).ref).not.toBe(first.ref);
  });

  it('are remembered for those who were last used, up to the bound', async () => {
    const { central, of } = bench({ maxCached: 2 });
    await of('a');
    await of('b');
    await of('a');
    await of('c');
    await of('a');
    expect(central.asked).toEqual(['a', 'b', 'c']);
    await of('b');
    expect(central.asked).toEqual(['a', 'b', 'c', 'b']);
  });
});

describe('keys of erased persons', () => {
  it('are used no more: the next event asks anew', async () => {
    const { central, keys, of } = bench();
    const old = await of('kim');
    const other = await of('lee');
    central.subjectKeys.delete(old.ref);
    expect(keys.forget(new Set([old.ref]))).toEqual([]);
    const next = await of('kim');
    expect(next.ref).not.toBe(old.ref);
    expect(next.provisional).toBe(false);
    expect((await of('lee')).ref).toBe(other.ref);
  });

  it('are found by mark where they were made here, also once central storage has them', async () => {
    const { central, keys, of } = bench();
    central.condition = 'down';
    const made = await of('kim');
    expect(made.provisional).toBe(true);
    keys.uploaded(new Set([made.ref]));
    central.condition = 'up';
    expect(keys.forget(new Set([`mark of ${REALM} kim`]))).toEqual([made.ref]);
    expect((await of('kim')).ref).not.toBe(made.ref);
  });

  it('are found by mark where they waited on disk since an earlier life', async () => {
    const { keys, of } = bench();
    const stashed = { realm: REALM, subject: 'kim', ref: 'ref-of-kim', key: new Uint8Array(32) };
    keys.adopt([stashed]);
    expect((await of('kim')).ref).toBe('ref-of-kim');
    expect(keys.forget(new Set([`mark of ${REALM} kim`]))).toEqual(['ref-of-kim']);
    expect((await of('kim')).ref).not.toBe('ref-of-kim');
  });

  it('are not kept when the answer was on its way as the person was erased', async () => {
    const { central, keys, of } = bench();
    const old = await central.of(REALM, 'kim');
    const { promise, resolve } = Promise.withResolvers<SubjectKey>();
    const answers = [promise];
    const { of: ask } = central;
    central.of = (realm, subject) => answers.shift() ?? ask.call(central, realm, subject);
    const asked = of('kim');
    central.subjectKeys.delete(old.ref);
    keys.forget(new Set([old.ref]));
    resolve(old);
    const kept = await asked;
    expect(kept.ref).not.toBe(old.ref);
    expect(kept.provisional).toBe(false);
  });
});
