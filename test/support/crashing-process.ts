import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTestStorage } from './local-stores.ts';
import { createOf, sessionOf } from './store-samples.ts';

/** Creates a session that stays, then dies with the commit of another one. Arguments: directory, two subjects. */
const [directory = '', first = '', second = ''] = process.argv.slice(2);
const workerUrl = new URL('./crashing-worker.ts', import.meta.url);
const storage = await openTestStorage(directory, { workerUrl });
await storage.sessions.create(createOf(sessionOf({ subject: first })));
writeFileSync(join(directory, '..', 'crash'), '');
await storage.sessions.create(createOf(sessionOf({ subject: second })));
