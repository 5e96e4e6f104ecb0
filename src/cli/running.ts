/** What `serve` needs of a running sidecar. */
export interface Running {
  /** Where it listens, by listener; `host:port`, or the path of a socket. */
  readonly addresses: Readonly<Record<string, string | undefined>>;
  /** What a person has to know of this start: what was made, what is loose. */
  readonly notices: readonly string[];
  /** Stops gracefully: `shutdown.delay`, then `graceMs` for calls in flight. Resolves when everything is closed. */
  stop(graceMs: number): Promise<void>;
}
