import { describe, expect, it } from 'vitest';
import { AuditBufferWatch } from '#src/adapters/telemetry/audit-buffer-watch.ts';
import type { BufferStatus } from '#src/ports/audit.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

/** A buffer that says what it is told to, or does not answer. */
class ScriptedBuffer {
  answer: BufferStatus | undefined = {
    chainId: 'chn_1',
    accepted: 12,
    durableSequence: 40,
    flushedSequence: 39,
    anchoredSequence: 30,
    bytes: 100,
    maxBytes: 1_000,
    writable: true,
  };
  async status(): Promise<BufferStatus> {
    if (!this.answer) throw new Error('gone');
    return this.answer;
  }
  say(change: Partial<BufferStatus>): void {
    if (this.answer) this.answer = { ...this.answer, ...change };
  }
}

function watched() {
  const buffer = new ScriptedBuffer();
  const log = new RecordingLog();
  const watch = new AuditBufferWatch(buffer, log);
  const shown = () => Object.fromEntries(watch.gauges.map(({ name, read }) => [name, read()]));
  return { buffer, log, watch, shown };
}

describe('the watch on the audit buffer', () => {
  it('shows each position, the size and whether events are taken, as of the last reading', async () => {
    const { buffer, watch, shown } = watched();
    expect(shown()['audit_writable']).toBe(0);
    expect(await watch.read()).toEqual(buffer.answer);
    expect(shown()).toEqual({
      audit_accepted_total: 12,
      audit_durable_sequence: 40,
      audit_flushed_sequence: 39,
      audit_anchored_sequence: 30,
      audit_buffer_bytes: 100,
      audit_buffer_max_bytes: 1_000,
      audit_backlog_events: 0,
      audit_backlog_bytes: 0,
      audit_backlog_seconds: 0,
      audit_backlog_max_seconds: 0,
      audit_writable: 1,
    });
    buffer.say({ writable: false });
    await watch.read();
    expect(shown()['audit_writable']).toBe(0);
  });

  it('shows how far central storage lags behind', async () => {
    const { buffer, watch, shown } = watched();
    buffer.say({ waiting: { events: 7, bytes: 3_500, ageMs: 1_250, maxAgeMs: 60_000 } });
    await watch.read();
    expect(shown()).toMatchObject({
      audit_backlog_events: 7,
      audit_backlog_bytes: 3_500,
      audit_backlog_seconds: 1.25,
      audit_backlog_max_seconds: 60,
    });
  });

  it('raises the alarm once before the oldest event has waited too long, and again after that was over', async () => {
    const { buffer, log, watch } = watched();
    for (const ageMs of [47_999, 48_000, 59_000, 0, 50_000]) {
      buffer.say({ waiting: { events: 7, bytes: 3_500, ageMs, maxAgeMs: 60_000 } });
      await watch.read();
      await watch.read();
    }
    expect(log.lines).toEqual([
      expect.stringMatching(/^error audit events wait long.*"ageMs":48000,"maxAgeMs":60000,"events":7/),
      expect.stringMatching(/^error audit events wait long.*"ageMs":50000/),
    ]);
  });

  it('says that nothing is taken while the buffer does not answer, and keeps the last positions', async () => {
    const { buffer, watch, shown } = watched();
    await watch.read();
    buffer.answer = undefined;
    expect(await watch.read()).toBeUndefined();
    expect(shown()).toMatchObject({ audit_writable: 0, audit_durable_sequence: 40 });
  });

  it('raises the alarm once before the bound is reached, and again after there was room', async () => {
    const { buffer, log, watch } = watched();
    for (const bytes of [799, 800, 900, 100, 850]) {
      buffer.say({ bytes });
      await watch.read();
      await watch.read();
    }
    expect(log.lines).toEqual([
      expect.stringMatching(/^error the audit buffer is nearly full.*"bytes":800,"maxBytes":1000/),
      expect.stringMatching(/^error the audit buffer is nearly full.*"bytes":850/),
    ]);
  });
});
