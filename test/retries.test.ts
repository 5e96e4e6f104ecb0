import { spawnSync } from 'node:child_process';
import { describe, expect, it, vi } from 'vitest';
import { withRetries } from '../scripts/retries.mjs';

const AT_ONCE = [0, 0];

/** Ends with these codes, one after the other; how often it was tried, what came of it, and what was said. */
function tried(...codes: readonly string[]) {
  const left = [...codes];
  const said: string[] = [];
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  try {
    const child = withRetries('getting it', () => spawnSync('sh', ['-c', left.shift() ?? 'exit 9']), AT_ONCE);
    return { times: codes.length - left.length, status: child.status, said };
  } finally {
    write.mockRestore();
  }
}

describe('a download', () => {
  it('is tried once when it goes well', () => {
    expect(tried('exit 0', 'exit 0')).toEqual({ times: 1, status: 0, said: [] });
  });

  it('is tried again when it fails, and says so', () => {
    expect(tried('exit 100', 'exit 0', 'exit 0')).toEqual({
      times: 2,
      status: 0,
      said: ['sallyport: getting it failed (exit 100); trying again in 0 s …\n'],
    });
  });

  it('is given up after the third time', () => {
    expect(tried('exit 1', 'exit 1', 'exit 2', 'exit 0')).toMatchObject({ times: 3, status: 2 });
  });

  it('is not tried again when somebody ended it, or when there is no such program', () => {
    expect(tried('kill -TERM $$', 'exit 0')).toMatchObject({ times: 1, status: null, said: [] });
    let times = 0;
    const none = () => {
      times += 1;
      return spawnSync('/nonexistent/program');
    };
    expect(withRetries('getting it', none, AT_ONCE).error).toBeDefined();
    expect(times).toBe(1);
  });
});
