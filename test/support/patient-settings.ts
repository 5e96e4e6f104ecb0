/**
 * For fleets whose servers a test takes away: the time-outs of a production machine, on one that is shared with the
 * servers and with the test itself, would tell of outages that nobody made. How quick answers are is measured elsewhere.
 */
export const PATIENT = { SALLYPORT_POSTGRES_READ_TIMEOUT: '500ms', SALLYPORT_REDIS_TIMEOUT: '500ms' } as const;

/** For fleets whose servers stay, and whose test is not about them: a machine that stands still is no outage either. */
export const UNHURRIED = {
  SALLYPORT_POSTGRES_READ_TIMEOUT: '5s',
  SALLYPORT_POSTGRES_TIMEOUT: '10s',
  SALLYPORT_REDIS_TIMEOUT: '1s',
} as const;
