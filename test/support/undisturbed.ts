import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const STEP_MS = 50;
const FREELY_MS = 200;
const MOST_GOES = 3;

/**
 * Proves what is promised by the clock. A go that fails proves nothing where the machine itself stood still meanwhile,
 * because others had its processor or its disk: then it is made once more. It counts where the machine ran freely, and
 * the last one counts in any case. Each go has to make what it needs anew.
 * @param freelyMs On a machine that runs freely a short rest and a small write are late by less.
 */
export async function undisturbed(work: (go: number) => Promise<void>, freelyMs = FREELY_MS): Promise<void> {
  for (let go = 1; ; go += 1) {
    await using pulse = await Pulse.start();
    try {
      return await work(go);
    } catch (error) {
      if (go === MOST_GOES || (await pulse.end()) < freelyMs) throw error;
    }
  }
}

/** Rests and writes to the disk, again and again, and notes how late it was for that. */
class Pulse implements AsyncDisposable {
  #latestMs = 0;
  readonly #directory: string;
  readonly #file: FileHandle;
  readonly #beating: Promise<void>;
  #stopped = false;

  private constructor(directory: string, file: FileHandle) {
    this.#directory = directory;
    this.#file = file;
    this.#beating = this.#beat();
  }

  static async start(): Promise<Pulse> {
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-pulse-'));
    return new Pulse(directory, await open(join(directory, 'pulse'), 'w'));
  }

  /** @returns By how many milliseconds it was late at worst, up to the beat that is under way. */
  async end(): Promise<number> {
    this.#stopped = true;
    await this.#beating;
    return this.#latestMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await this.#file.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #beat(): Promise<void> {
    while (!this.#stopped) {
      const from = performance.now();
      await sleep(STEP_MS);
      await this.#file.write('.', 0);
      await this.#file.sync();
      this.#latestMs = Math.max(this.#latestMs, performance.now() - from - STEP_MS);
    }
  }
}
