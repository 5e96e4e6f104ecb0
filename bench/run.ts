import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { bundleBareServers } from './bare.ts';
import type { Measurement } from './context.ts';
import { asJson, type Row, table } from './row.ts';
import { audit } from './rows/audit.ts';
import { challenges } from './rows/challenges.ts';
import { fleet } from './rows/fleet.ts';
import { flush } from './rows/flush.ts';
import { realmLog } from './rows/realm-log.ts';
import { revocations } from './rows/revocations.ts';
import { sharedChallenges } from './rows/shared-challenges.ts';
import { sharedSessions } from './rows/shared-sessions.ts';
import { start } from './rows/start.ts';
import { streams } from './rows/streams.ts';
import { validateSession } from './rows/validate-session.ts';
import { newDirectory, removeDirectory } from './sidecar.ts';

const MEASUREMENTS: readonly Measurement[] = [
  start,
  validateSession,
  challenges,
  audit,
  streams,
  sharedSessions,
  revocations,
  sharedChallenges,
  flush,
  realmLog,
  fleet,
];

const { values: options } = parseArgs({
  options: { json: { type: 'string' }, only: { type: 'string' }, quick: { type: 'boolean', default: false } },
});
const chosen = MEASUREMENTS.filter(({ name }) => name.includes(options.only ?? ''));
if (chosen.length === 0) {
  const names = MEASUREMENTS.map(({ name }) => name).join(', ');
  process.stderr.write(`bench: nothing is named ${options.only}; there are ${names}\n`);
  process.exit(2);
}

const directory = newDirectory();
try {
  const bare = await bundleBareServers(directory);
  const rows: Row[] = [];
  for (const { name, measure } of chosen) {
    const note = (text: string) => void process.stderr.write(`bench: ${name}: ${text}\n`);
    note('measuring …');
    try {
      rows.push(...(await measure({ quick: options.quick, bare, note })));
    } catch (error) {
      // The others are not lost for it.
      note(`failed: ${error instanceof Error ? error.stack : error}`);
      process.exitCode = 1;
    }
  }
  process.stdout.write(`${table(rows)}\n`);
  if (options.json !== undefined) writeFileSync(options.json, asJson(rows));
} finally {
  removeDirectory(directory);
}
