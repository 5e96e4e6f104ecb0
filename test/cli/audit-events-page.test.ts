import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { FAULT_EXIT } from '#src/cli/audit-faults.ts';
import { run } from '#src/cli/program.ts';
import { EVENT_TYPES } from '#src/domain/audit-event.ts';
import { auditBench, writeEvents } from '../support/audit-files.ts';
import { RecordingIo } from '../support/recording-io.ts';

const page = readFileSync(join(import.meta.dirname, '../../docs/security/EVENTS.md'), 'utf8');

it('explains every type of event exactly once, in the order of the catalogue, and none that does not exist', () => {
  const rows = [...page.matchAll(/^\| `([a-z_]+\.[a-z_]+)` \| (.+?) \| (.+?) \|/gm)];
  expect(rows.map(([, type]) => type)).toEqual([...EVENT_TYPES]);
  for (const [, type, when, outcome] of rows) {
    expect(when?.length, type).toBeGreaterThan(5);
    expect(outcome, type).toMatch(/\b(SUCCESS|REFUSED|FAILED|INFO)\b/);
  }
});

it('lists the exit code of every kind of damage', () => {
  const rows = [...page.matchAll(/^\| (1\d) \| `([A-Z]+)` \|/gm)].map(([, code, fault]) => [fault, Number(code)]);
  expect(Object.fromEntries(rows)).toEqual(FAULT_EXIT);
});

it('shows commands that work', async () => {
  const bench = auditBench();
  const file = bench.open();
  writeEvents(bench, file, 30);
  file.close();
  const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = '']) => block.trim().split('\n'));
  expect(commands.length).toBeGreaterThan(3);
  for (const command of commands) {
    const [npx, program, ...argv] = command.split(' ').map((word) => word.replaceAll("'", ''));
    expect([npx, program]).toEqual(['npx', 'sallyport']);
    const here = argv.map((word) =>
      word === 'sallyport-data' ? bench.folder : word === 'trail.jsonl' ? join(bench.folder, word) : word,
    );
    const io = new RecordingIo({});
    expect(await run(here, io), `${command}: ${io.stderr}`).toBe(0);
  }
});
