import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SubjectStore } from '#src/ports/subject-store.ts';
import type { Log } from '#src/ports/telemetry.ts';

export interface ErasureFollowerOptions {
  readonly subjects: Pick<SubjectStore, 'erasuresAfter'>;
  /** Where an earlier life got to, 0 for nowhere. */
  readonly begin: () => Promise<number>;
  /** Pseudonyms and marks of erased persons. */
  readonly forget: (erased: readonly string[]) => Promise<void>;
  /** All is done up to here, for the next life. */
  readonly done: (through: number) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  /** Time between two looks; 2 s if absent. */
  readonly everyMs?: DurationMs;
}

const EVERY_MS = 2_000;
const PAGE = 500;
/** Positions are given out before they are committed. One that is missing for longer was never committed. */
const GAP_MS = 60_000;

/**
 * Follows who was erased, by whatever sidecar, so that nothing of them stays in memory or on the disk of this one. Looks at
 * what comes after the last position without a gap below it, since commits may come in another order than positions.
 */
export class ErasureFollower {
  readonly #options: ErasureFollowerOptions;
  /** All up to here is done; undefined until that is known. */
  #through: number | undefined;
  /** Done too, behind a gap. */
  readonly #ahead = new Set<number>();
  #gapSince: number | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #cancel: (() => void) | undefined;
  #stopped = false;
  #failing = false;

  constructor(options: ErasureFollowerOptions) {
    this.#options = options;
  }

  /** Looks at once, then again and again. Never rejects: what fails is tried again. */
  async start(): Promise<void> {
    await this.look().catch(() => {});
    this.#later();
  }

  /** Resolves when everything that was committed before the call is done with. */
  async look(): Promise<void> {
    if (this.#looking) this.#again = true;
    this.#looking ??= this.#lookOn().finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#looking?.catch(() => {});
  }

  #later(): void {
    const { clock, everyMs = EVERY_MS } = this.#options;
    if (this.#stopped) return;
    this.#cancel = clock.schedule(
      everyMs,
      () =>
        void this.look().then(
          () => this.#later(),
          () => this.#later(),
        ),
    );
  }

  async #lookOn(): Promise<void> {
    try {
      do {
        this.#again = false;
        await this.#lookOnce();
      } while (this.#again && !this.#stopped);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing)
        this.#options.log.warn('who was erased cannot be looked up; trying again', { error: String(error) });
      this.#failing = true;
      throw error;
    }
  }

  async #lookOnce(): Promise<void> {
    const { subjects, begin, forget, done } = this.#options;
    this.#through ??= await begin();
    for (let from = this.#through; ; ) {
      const page = await subjects.erasuresAfter(from, PAGE);
      const fresh = page.filter(({ position }) => !this.#ahead.has(position));
      const through = this.#advanced(
        this.#through,
        page.map(({ position }) => position),
      );
      if (fresh.length > 0) await forget([...new Set(fresh.map(({ subjectRef }) => subjectRef))]);
      if (through > this.#through) await done(through);
      for (const { position } of page) this.#ahead.add(position);
      for (const position of this.#ahead) if (position <= through) this.#ahead.delete(position);
      this.#through = through;
      from = page.at(-1)?.position ?? from;
      if (page.length < PAGE) return;
    }
  }

  /** How far there are no gaps with these done too. */
  #advanced(from: number, more: readonly number[]): number {
    const { clock } = this.#options;
    const done = [...new Set([...this.#ahead, ...more])].sort((a, b) => a - b);
    let through = from;
    for (const position of done) {
      if (position <= through) continue;
      if (position > through + 1) {
        this.#gapSince ??= clock.monotonic();
        if (clock.monotonic() - this.#gapSince < GAP_MS) return through;
        this.#gapSince = undefined;
      }
      through = position;
    }
    this.#gapSince = undefined;
    return through;
  }
}
