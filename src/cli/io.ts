/** What commands need of the process they run in. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** To stdout. */
  out(text: string): void;
  /** To stderr. */
  err(text: string): void;
  /** Asks the person at the terminal for a line; absent when there is nobody to ask. */
  readonly ask?: (question: string) => Promise<string>;
  /** SIGINT and SIGTERM; the disposer stops listening. */
  onSignal(listener: (signal: string) => void): () => void;
  /** An exception or rejection that nobody handled; the process is not to be trusted after it. */
  onCrash(listener: (error: unknown) => void): () => void;
  /** Ends the process now, whatever is still open. */
  exit(code: number): void;
}
