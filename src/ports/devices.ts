import type { Location } from '../domain/session.ts';

/** Where an address is; undefined when unknown or no database is configured. Synchronous: the file is in memory. */
export interface Locator {
  locate(ipAddress: string): Location | undefined;
}

/** Names of browser and system in a User-Agent header; '' when not recognised. Never rejects. A promise, since the tables load with the first use. */
export interface UserAgentParser {
  parse(userAgent: string): Promise<{ readonly browser: string; readonly operatingSystem: string }>;
}
