import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '#src/cli/program.ts';
import { RecordingIo } from '../support/recording-io.ts';

/** Where temporary folders are made, so that what is left behind can be seen. */
let temporary: string;

beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'sallyport-test-'));
  vi.stubEnv('TMPDIR', temporary);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(temporary, { recursive: true, force: true });
});

/** A person at a terminal. */
class AskedIo extends RecordingIo {
  readonly ask: (question: string) => Promise<string>;
  constructor(answer: (question: string, io: AskedIo) => Promise<string>) {
    super();
    this.ask = (question) => answer(question, this);
  }
}

describe('sallyport demo', () => {
  it('plays the whole journey by itself, shows a refusal and the trail, and leaves nothing behind', async () => {
    const io = new RecordingIo();
    expect(await run(['demo', '--yes'], io)).toBe(0);
    expect(io.stderr).toBe('');
    expect(io.stdout).toContain('▀▀▀▀▀');
    expect(io.stdout).toContain('refused; 4 attempts left');
    expect(io.stdout).toContain('APPROVED');
    expect(io.stdout).toContain('a second time: 9 FAILED_PRECONDITION: the receipt was used before');
    expect(io.stdout).toMatch(/challenge\.approved +success proof/);
    expect(io.stdout).toMatch(/the chain of \d+ rows holds/);
    expect(readdirSync(temporary)).toEqual([]);
    expect(io.listeners).toBe(0);
  });

  it('ends with 130 and leaves nothing behind when the person interrupts a question', async () => {
    const io = new AskedIo(() => Promise.reject(new DOMException('Aborted with Ctrl+C', 'AbortError')));
    expect(await run(['demo'], io)).toBe(130);
    expect(io.stderr).toBe('sallyport: interrupted\n');
    expect(readdirSync(temporary)).toEqual([]);
  });

  it('leaves nothing behind when a signal ends it at once', async () => {
    let atExit: readonly string[] | undefined;
    const io = new AskedIo((_question, self) => {
      self.signal('SIGTERM');
      atExit = readdirSync(temporary);
      return Promise.reject(new DOMException('over', 'AbortError'));
    });
    await run(['demo'], io);
    expect(io.exits).toEqual([130]);
    expect(atExit).toEqual([]);
  });
});
