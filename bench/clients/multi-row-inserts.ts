// The bare equivalent of the flush: multi-row INSERTs of as many bytes over one connection. Arguments: URL, events, rows
// of a batch, bytes per event. Prints one line of JSON.
import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

const [connectionString = '', events, batch, bytes] = process.argv.slice(2);
const rows = Number(batch);
const client = new Client({ connectionString });
await client.connect();
await client.query('CREATE TABLE bare_events (position bigint PRIMARY KEY, record bytea NOT NULL)');
const record = randomBytes(Math.round(Number(bytes)));
const values = Array.from({ length: rows }, (_, row) => `($${row * 2 + 1}, $${row * 2 + 2})`).join(', ');
const startedAt = performance.now();
let position = 0;
while (position < Number(events)) {
  const parameters = Array.from({ length: rows }, () => [++position, record]).flat();
  await client.query(`INSERT INTO bare_events (position, record) VALUES ${values}`, parameters);
}
const perSecond = (position / (performance.now() - startedAt)) * 1000;
await client.query('DROP TABLE bare_events');
await client.end();
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
