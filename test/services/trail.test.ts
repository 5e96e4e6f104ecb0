import { describe, expect, it } from 'vitest';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock, settle } from '../support/clock.ts';
import { SeededRandom } from '../support/random.ts';
import { RecordingAudit } from '../support/recording-audit.ts';
import { CountingMetrics, RecordingLog } from '../support/recording-telemetry.ts';

const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'c-1' };

function world(more: { maxFolding?: number; maxPending?: number } = {}) {
  const clock = new ManualClock();
  const audit = new RecordingAudit();
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const random = new SeededRandom('trail');
  const trail = new Trail({ audit, clock, random, metrics, log, foldMs: 60_000, maxFolding: 10, ...more });
  const refuse = (fields: Partial<EventDraft> = {}) => {
    const { realm = 'default', outcome = 'REFUSED', reason = 'WRONG_CODE', subject = 'ann', ...rest } = fields;
    trail.refused(trail.draft(fields.type ?? 'challenge.refused', APP, { realm, outcome, reason, subject, ...rest }));
  };
  return { clock, audit, metrics, log, trail, refuse };
}

describe('the trail', () => {
  it('drafts an event with who called, when, and an id of its own', () => {
    const { trail, clock } = world();
    const first = trail.draft('session.created', APP, { realm: 'default', outcome: 'SUCCESS', subject: 'ann' });
    const second = trail.draft('sidecar.started', undefined, { realm: '', outcome: 'INFO' });
    expect(first).toMatchObject({ caller: 'grpc', correlationId: 'c-1', at: clock.now(), subject: 'ann' });
    expect(first.id).toMatch(/^evt_[0-9a-z]{26}$/);
    expect(second).toMatchObject({ caller: 'sidecar', correlationId: '' });
    expect(second.id).not.toBe(first.id);
  });

  it('tells whoever grants that the event could not be written', async () => {
    const { trail, audit } = world();
    audit.failure = new Error('disk');
    const event = trail.draft('session.created', APP, { realm: 'default', outcome: 'SUCCESS' });
    await expect(trail.append(event)).rejects.toThrow('disk');
    expect(trail.counters.lost).toBe(0);
  });

  it('folds equal refusals into the first and one with a count', async () => {
    const { refuse, audit, clock, trail, metrics } = world();
    for (let attempt = 0; attempt < 100; attempt += 1) refuse();
    await settle();
    expect(audit.events).toHaveLength(1);
    const since = clock.now();
    clock.advance(60_000);
    await settle();
    expect(audit.events).toHaveLength(2);
    expect(audit.events[1]).toMatchObject({
      count: 99,
      subject: 'ann',
      reason: 'WRONG_CODE',
      facts: { folded_since_ms: String(since) },
    });
    expect(audit.events[1]?.id).not.toBe(audit.events[0]?.id);
    expect(audit.events[1]?.at).toBe(clock.now());
    expect(trail.counters).toEqual({ folded: 99, lost: 0 });
    expect(metrics.count('eventFolded')).toBe(99);
    refuse();
    await settle();
    expect(audit.events).toHaveLength(3);
    expect(audit.events[2]?.count).toBeUndefined();
  });

  it('keeps apart what differs in person, type, reason, realm or challenge', async () => {
    const { refuse, audit } = world();
    refuse();
    refuse({ subject: 'bob' });
    refuse({ reason: 'REPLAYED' });
    refuse({ realm: 'other' });
    refuse({ challengeId: 'chl_1' });
    refuse({ type: 'limit.hit' });
    await settle();
    expect(audit.events).toHaveLength(6);
  });

  it('writes no second event when nothing was folded', async () => {
    const { refuse, audit, clock } = world();
    refuse();
    clock.advance(120_000);
    await settle();
    expect(audit.events).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  it('bounds a flood over many people to a few events that still count every refusal', async () => {
    const { refuse, audit, clock, trail } = world();
    for (let attempt = 0; attempt < 5_000; attempt += 1)
      refuse({ subject: `person-${attempt}`, challengeId: `chl_${attempt}` });
    await settle();
    clock.advance(60_000);
    await settle();
    expect(audit.events).toHaveLength(11);
    expect(audit.events.reduce((sum, { count = 1 }) => sum + count, 0)).toBe(5_000);
    const flood = audit.events.at(-1);
    expect(flood).toMatchObject({ type: 'challenge.refused', reason: 'WRONG_CODE', count: 4_990, caller: 'grpc' });
    expect(flood?.subject).toBeUndefined();
    expect(flood?.challengeId).toBeUndefined();
    expect(trail.counters).toEqual({ folded: 4_990, lost: 0 });
  });

  it('holds a bounded number of different refusals, whatever comes', async () => {
    const { refuse, trail, clock } = world();
    for (let attempt = 0; attempt < 1_000; attempt += 1)
      refuse({ reason: `REASON_${attempt}`, subject: `p${attempt}` });
    expect(clock.pending).toBeLessThanOrEqual(21);
    expect(trail.counters.lost).toBe(1_000 - 20);
    await trail.drain();
  });

  it('holds a bounded number of writes, and counts what it drops', async () => {
    const { refuse, trail, audit, metrics } = world({ maxFolding: 1_000, maxPending: 8 });
    for (let attempt = 0; attempt < 100; attempt += 1) refuse({ subject: `p${attempt}` });
    await settle();
    expect(audit.events).toHaveLength(8);
    expect(trail.counters.lost).toBe(92);
    expect(metrics.count('eventsLost')).toBe(92);
  });

  it('counts a refusal that could not be written, and says so in the trail once it can', async () => {
    const { refuse, audit, clock, trail, log } = world();
    audit.failure = new Error('disk');
    refuse();
    refuse({ subject: 'bob' });
    await settle();
    expect(trail.counters.lost).toBe(2);
    expect(log.lines.filter((line) => line.startsWith('warn '))).toHaveLength(1);
    clock.advance(5_000);
    await settle();
    expect(audit.events).toEqual([]);
    audit.failure = undefined;
    await clock.advanceSlowly(3_000, 500);
    expect(audit.events).toMatchObject([{ type: 'audit.events_lost', count: 2, outcome: 'FAILED' }]);
    await clock.advanceSlowly(3_000, 500);
    expect(audit.events).toHaveLength(1);
  });

  it('writes at the end what is still folded, and waits for what is on its way', async () => {
    const { refuse, audit, trail, clock } = world();
    refuse();
    refuse();
    refuse();
    await trail.drain();
    expect(audit.events).toMatchObject([{ subject: 'ann' }, { subject: 'ann', count: 2 }]);
    expect(clock.pending).toBe(0);
  });

  it('ends at the drain even when nothing can be written', async () => {
    const { refuse, audit, trail, clock } = world();
    audit.failure = new Error('disk');
    refuse();
    refuse();
    await trail.drain();
    expect(trail.counters.lost).toBe(2);
    expect(clock.pending).toBe(0);
  });

  it('writes at once what is still folded about a person, and nothing of others', async () => {
    const { refuse, audit, trail } = world();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      refuse();
      refuse({ subject: 'bob' });
    }
    await trail.settle('default', 'ann');
    expect(audit.events.map(({ subject, count }) => [subject, count])).toEqual([
      ['ann', undefined],
      ['bob', undefined],
      ['ann', 2],
    ]);
  });

  it('names nobody who was erased elsewhere in what is still folded about them', async () => {
    const { refuse, audit, trail, clock } = world();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      refuse({ ipAddress: '203.0.113.7' });
      refuse({ subject: 'bob' });
    }
    trail.forget((realm, subject) => realm === 'default' && subject === 'ann');
    clock.advance(60_000);
    await settle();
    expect(audit.events.slice(2).map(({ subject, ipAddress, count }) => [subject, ipAddress, count])).toEqual([
      [undefined, undefined, 2],
      ['bob', undefined, 2],
    ]);
  });
});
