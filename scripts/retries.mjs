/** Before a download is tried once more: servers hiccup, and another program may hold the lock of the package manager. */
export const PAUSES_S = [5, 20];

/** Tries until it ends well, at most once more than there are pauses, in seconds. Answers how the last try ended. */
export function withRetries(title, attempt, pauses = PAUSES_S) {
  for (const pause of pauses) {
    const child = attempt();
    // What could not start, or was ended by somebody, would not go better a second time.
    if (child.status === 0 || child.status === null) return child;
    process.stderr.write(`sallyport: ${title} failed (exit ${child.status}); trying again in ${pause} s …\n`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause * 1_000);
  }
  return attempt();
}
