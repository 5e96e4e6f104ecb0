import { describe, expect, it } from 'vitest';
import { renderBanner } from '#src/cli/banner.ts';
import type { Running } from '#src/cli/running.ts';
import { untilStopped } from '#src/cli/serve.ts';
import { RecordingIo } from '../support/recording-io.ts';

/** A sidecar that stops when the test lets it. */
class HeldSidecar implements Running {
  readonly addresses = { grpc: '127.0.0.1:50051' };
  readonly notices: readonly string[] = [];
  readonly graces: number[] = [];
  readonly #stopped = Promise.withResolvers<void>();
  stop(graceMs: number): Promise<void> {
    this.graces.push(graceMs);
    return this.#stopped.promise;
  }
  letGo(): void {
    this.#stopped.resolve();
  }
  fail(error: Error): void {
    this.#stopped.reject(error);
  }
}

const shutdown = { delay: 1_000, grace: 10_000 };

describe('untilStopped', () => {
  it('waits for a signal, then stops within delay and grace, and leaves no listener behind', async () => {
    const io = new RecordingIo();
    const sidecar = new HeldSidecar();
    const done = untilStopped(sidecar, shutdown, io);
    expect(sidecar.graces).toEqual([]);
    io.signal('SIGTERM');
    expect(sidecar.graces).toEqual([10_000]);
    sidecar.letGo();
    await done;
    expect(io.listeners).toBe(0);
    expect(io.exits).toEqual([]);
  });

  it('does not wait for calls after a second signal, and ends the process at the third', async () => {
    const io = new RecordingIo();
    const sidecar = new HeldSidecar();
    const done = untilStopped(sidecar, shutdown, io);
    io.signal('SIGINT');
    io.signal('SIGINT');
    expect(sidecar.graces).toEqual([10_000, 0]);
    io.signal('SIGINT');
    expect(io.exits).toEqual([70]);
    sidecar.letGo();
    await done;
  });

  it('fails when the stop fails', async () => {
    const io = new RecordingIo();
    const sidecar = new HeldSidecar();
    const done = untilStopped(sidecar, shutdown, io);
    io.signal('SIGTERM');
    sidecar.fail(new Error('disk gone'));
    await expect(done).rejects.toThrow('disk gone');
    expect(io.listeners).toBe(0);
  });

  it('ends the process with 70 on an error that nobody handled, after saying it', () => {
    const io = new RecordingIo();
    untilStopped(new HeldSidecar(), shutdown, io);
    io.crash(new Error('out of luck'));
    expect(io.exits).toEqual([70]);
    expect(io.stderr).toContain('unhandled: Error: out of luck');
  });
});

describe('the banner', () => {
  const about = { version: '1.2.3', dataDir: './sallyport-data', reflection: true };

  it('says where it listens, what was made, and what to paste next', () => {
    const text = renderBanner(
      {
        addresses: { grpc: '127.0.0.1:50051', http: '127.0.0.1:8080', admin: '0.0.0.0:9090' },
        notices: ['made keys.json'],
      },
      about,
    );
    expect(text).toContain('Sallyport 1.2.3 is ready');
    expect(text).toContain('  note: made keys.json');
    const calls = text.split('\n').filter((line) => line.includes('grpcurl'));
    expect(calls.map((line) => /(list$|\w+Service\/\w+)/.exec(line)?.[1])).toEqual([
      'list',
      'SessionService/CreateSession',
      'FactorService/BeginEnrollment',
      'FactorService/ConfirmEnrollment',
      'ChallengeService/OpenChallenge',
    ]);
    for (const call of calls) expect(call).toContain("-plaintext -H 'x-sallyport-client: cli'");
  });

  it('says where state is kept', () => {
    const first = (shared?: { readonly redis: boolean }) =>
      renderBanner({ addresses: {}, notices: [] }, { ...about, ...(shared && { shared }) }).split('\n')[0];
    expect(first()).toContain('embedded, on SQLite');
    expect(first({ redis: false })).toContain('shared, on PostgreSQL; audit buffer in ./sallyport-data');
    expect(first({ redis: true })).toContain('shared, on PostgreSQL, with Redis in front; audit buffer');
  });

  it('pastes the socket where there is no port', () => {
    expect(renderBanner({ addresses: { socket: '/run/s.sock' }, notices: [] }, about)).toContain(
      'unix:/run/s.sock list',
    );
  });

  it('leaves the lines to paste out where there is no gRPC', () => {
    expect(renderBanner({ addresses: { http: '127.0.0.1:8080' }, notices: [] }, about)).not.toContain('grpcurl');
  });
});
