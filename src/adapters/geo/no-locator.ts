import type { Locator } from '#src/ports/devices.ts';

/** Used where no database is configured: nothing is known. */
export const NO_LOCATOR: Locator = { locate: () => undefined };
