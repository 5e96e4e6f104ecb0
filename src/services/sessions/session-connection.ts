import { canonicalAddress } from '#src/domain/address.ts';
import type { ClientContext } from '#src/domain/caller.ts';
import type { Connection } from '#src/domain/risk.ts';
import type { Device } from '#src/domain/session.ts';
import type { Locator, UserAgentParser } from '#src/ports/devices.ts';

/** Finds out what a connection tells about the device behind it. */
export class SessionConnections {
  readonly #locator: Locator;
  readonly #agents: UserAgentParser;

  constructor(locator: Locator, agents: UserAgentParser) {
    this.#locator = locator;
    this.#agents = agents;
  }

  async describe(client: ClientContext): Promise<Connection> {
    const { browser, operatingSystem } = await this.#agents.parse(client.userAgent);
    const address = canonicalAddress(client.ipAddress);
    const location = address === undefined ? undefined : this.#locator.locate(address);
    return { ...client, browser, operatingSystem, ...(location ? { location } : {}) };
  }

  /** The record that later connections are compared with; an unreadable address counts as none. */
  async device(client: ClientContext): Promise<Device> {
    const connection = await this.describe(client);
    return { ...connection, ipAddress: canonicalAddress(client.ipAddress) ?? '' };
  }
}
