import { Client, type ClientConfig } from 'pg';

/**
 * A client of the driver that goes by its options alone. Where one is left out the driver asks the environment, and what
 * PGOPTIONS says would hold for every session: `-c synchronous_commit=off` takes back what was revoked, another
 * search_path leads to other tables.
 */
export function newClient(config: ClientConfig): Client {
  const client = new Client(config);
  const { connectionParameters } = client as unknown as { readonly connectionParameters: Record<string, unknown> };
  Object.assign(connectionParameters, { options: config.options, replication: undefined });
  return client;
}
