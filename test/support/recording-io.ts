import type { Io } from '#src/cli/io.ts';

/** A process for commands: keeps what they print, and lets a test send signals and crashes. */
export class RecordingIo implements Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  stdout = '';
  stderr = '';
  /** Codes of `exit()`, which does not end anything here. */
  readonly exits: number[] = [];
  readonly #signals = new Set<(signal: string) => void>();
  readonly #crashes = new Set<(error: unknown) => void>();

  constructor(env: Readonly<Record<string, string>> = {}) {
    this.env = env;
  }

  out(text: string): void {
    this.stdout += text;
  }
  err(text: string): void {
    this.stderr += text;
  }
  onSignal(listener: (signal: string) => void): () => void {
    this.#signals.add(listener);
    return () => this.#signals.delete(listener);
  }
  onCrash(listener: (error: unknown) => void): () => void {
    this.#crashes.add(listener);
    return () => this.#crashes.delete(listener);
  }
  exit(code: number): void {
    this.exits.push(code);
  }

  signal(name: string): void {
    for (const listener of this.#signals) listener(name);
  }
  crash(error: unknown): void {
    for (const listener of this.#crashes) listener(error);
  }
  get listeners(): number {
    return this.#signals.size + this.#crashes.size;
  }
}
