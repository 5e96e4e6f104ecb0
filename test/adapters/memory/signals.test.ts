import { describe, expect, it } from 'vitest';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

const challenge = (id: string) => ({ id, state: 'APPROVED' }) as Challenge;
const ended = { realm: 'default', sessionId: 'ses_1', subject: 'ann', reason: 'LOGOUT', endedAt: 1 } as const;

describe('signals within a process', () => {
  it('reach every listener of the challenge, and of no other', () => {
    const signals = new MemorySignals({ log: new RecordingLog() });
    const told: string[] = [];
    signals.onChallenge('a', ({ id }) => told.push(`one ${id}`));
    const stop = signals.onChallenge('a', ({ id }) => told.push(`two ${id}`));
    signals.challengeChanged(challenge('b'));
    signals.challengeChanged(challenge('a'));
    stop();
    stop();
    signals.challengeChanged(challenge('a'));
    expect(told).toEqual(['one a', 'two a', 'one a']);
  });

  it('reach the others when one listener fails, and the sender never hears of it', () => {
    const log = new RecordingLog();
    const signals = new MemorySignals({ log });
    const told: string[] = [];
    signals.onChallenge('a', () => {
      throw new Error('broken');
    });
    signals.onChallenge('a', ({ id }) => told.push(id));
    signals.challengeChanged(challenge('a'));
    expect(told).toEqual(['a']);
    expect(log.lines).toHaveLength(1);
  });

  it('move the generation with every end of a session, before anybody is told', () => {
    const signals = new MemorySignals({ log: new RecordingLog() });
    const seen: number[] = [];
    signals.onSessionsEnded(() => seen.push(signals.generation));
    signals.sessionsEnded([]);
    signals.sessionsEnded([ended, ended]);
    signals.sessionsEnded([ended]);
    expect(seen).toEqual([1, 2]);
    expect(signals.live).toBe(true);
  });
});
