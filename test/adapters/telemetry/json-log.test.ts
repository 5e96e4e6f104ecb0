import { describe, expect, it } from 'vitest';
import { JsonLog, type LogLevel } from '#src/adapters/telemetry/json-log.ts';

function logging(level: LogLevel) {
  const lines: string[] = [];
  const log = new JsonLog({ level, write: (line) => lines.push(line) });
  return { log, lines, parsed: () => lines.map((line) => JSON.parse(line)) };
}

describe('the JSON log', () => {
  it('writes one object per line with level, time and message', () => {
    const { log, lines, parsed } = logging('info');
    log.info('started', { port: 50051 });
    expect(lines[0]?.endsWith('\n')).toBe(true);
    expect(parsed()[0]).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      port: 50051,
      msg: 'started',
    });
  });

  it('writes nothing below its level', () => {
    const { log, parsed } = logging('warn');
    log.debug('d');
    log.info('i');
    log.warn('w');
    log.error('e');
    expect(parsed().map(({ level }) => level)).toEqual(['warn', 'error']);
  });

  it('redacts secrets by the name of their field, also inside others', () => {
    const { log, lines, parsed } = logging('debug');
    const names = [
      'token',
      'sessionToken',
      'session_token',
      'authorization',
      'code',
      'secret',
      'receipt',
      'phone_number',
      'authToken',
      'manualKey',
      'password',
    ];
    log.error('failed', {
      ...Object.fromEntries(names.map((name) => [name, 'hunter2'])),
      nested: { deep: [{ token: 'hunter2' }], key_uri: 'hunter2' },
      correlationId: 'kept',
      reason: 'SESSION_INVALID',
    });
    expect(lines.join()).not.toContain('hunter2');
    expect(parsed()[0]).toMatchObject({ correlationId: 'kept', reason: 'SESSION_INVALID', token: '[redacted]' });
  });

  it('takes everything that can be in a field', () => {
    const { log, parsed } = logging('debug');
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    log.error('odd', {
      error: new Error('boom'),
      big: 12n,
      bytes: new Uint8Array(3),
      cycle,
      long: 'x'.repeat(10_000),
      nothing: undefined,
      run: () => {},
    });
    const [line] = parsed();
    expect(line.error).toContain('Error: boom');
    expect(line).toMatchObject({ big: '12', bytes: '[3 bytes]' });
    expect(line.long.length).toBeLessThan(5_000);
  });

  it('keeps a line break in a value from making a second line', () => {
    const { log, lines } = logging('info');
    log.info('one\ntwo', { x: 'a\nb' });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.trimEnd()).not.toContain('\n');
  });
});
