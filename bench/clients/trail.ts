// How many events per second become durable through the product's own storage, from another thread, as the services use
// it. Arguments: directory, events, in flight. Prints one line of JSON.
import { join } from 'node:path';
import { openLocalStorage } from '../../src/adapters/local/client.ts';
import { loadOrCreateKeyRing } from '../../src/adapters/secrets/key-ring-file.ts';
import { systemRandom } from '../../src/adapters/system.ts';
import { newId } from '../../src/domain/ids.ts';
import { sampleEvent } from '../sample-event.ts';

const [directory = '', events, inFlight] = process.argv.slice(2);
const { ring } = await loadOrCreateKeyRing(join(directory, 'keys.json'), systemRandom);
await using storage = await openLocalStorage({
  directory,
  keyRing: ring,
  maxAuditBytes: 1 << 30,
  log: { debug() {}, info() {}, warn: console.error, error: console.error },
  onFatal: (error) => {
    throw error;
  },
});

async function append(count: number): Promise<number> {
  let left = count;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: Number(inFlight) }, async () => {
      while (left > 0) {
        left -= 1;
        await storage.audit.append([sampleEvent(newId('event', systemRandom.bytes(16)), left)]);
      }
    }),
  );
  return (count / (performance.now() - startedAt)) * 1000;
}

// To warm up, and for the keys of the persons.
await append(Number(events) / 4);
const perSecond = await append(Number(events));
const { bytes, accepted } = await storage.audit.status();
process.stdout.write(`${JSON.stringify({ perSecond, bytesPerEvent: bytes / accepted })}\n`);
