import { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import { listPartitions, type Partition, preparePartitions } from '#src/adapters/central/partitions.ts';
import { type PruneStep, prune, YOUNGEST_MS } from '#src/adapters/central/prune.ts';
import { deriveSeed, KeyRingError } from '#src/adapters/secrets/key-ring.ts';
import { loadKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { withCentralTrail } from './central-trail.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import type { PostgresOptions } from './postgres-source.ts';

const QUICK_MS = 30_000;

export interface PartitionsOptions extends PostgresOptions {
  readonly ahead?: number;
  readonly json?: boolean;
}

/** Lists the partitions of the trail, after making those of coming months with `--ahead`. */
export async function showPartitions(options: PartitionsOptions, io: Io): Promise<void> {
  await withCentralTrail(options, 'audit partitions', io, async ({ database }) => {
    const { ahead } = options;
    if (ahead !== undefined) {
      const made = await database.transaction(QUICK_MS, (run) => preparePartitions(run, ahead));
      io.err(made === 0 ? 'there was nothing to make\n' : `made ${made} partitions\n`);
    }
    const partitions = await listPartitions((sql) => database.read(QUICK_MS, sql));
    if (options.json) io.out(`${JSON.stringify(partitions.map(asJson))}\n`);
    else io.out(table(partitions));
  });
}

export interface PruneCommand extends PostgresOptions {
  readonly before: string;
  readonly keyFile: string;
  readonly dryRun?: boolean;
}

/** Takes out whole months of the trail, and says what went and what stays. */
export async function pruneTrail(options: PruneCommand, io: Io): Promise<void> {
  const before = monthOf(options.before);
  const signer = await signerOf(options.keyFile);
  await withCentralTrail(options, 'audit prune', io, async ({ database, place }) => {
    const now = Date.now();
    const isDry = options.dryRun === true;
    const { partitions, chains, kept } = await prune({
      database,
      signer,
      before,
      now,
      isDry,
      onStep: (step) => io.err(`${inWords(step)}\n`),
      pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    });
    const verb = isDry ? 'would drop' : 'dropped';
    for (const partition of partitions) io.out(`${verb} ${partition.name}  ${size(partition.bytes)}\n`);
    const since = new Date(before).toISOString().slice(0, 10);
    if (partitions.length + chains === 0) io.out(`${place}: nothing is older than ${since}\n`);
    else
      io.out(
        `${place}: ${isDry ? 'nothing was changed; ' : ''}${chains} chains ${isDry ? 'would begin' : 'begin'} at ${since} or later, or are all gone\n`,
      );
    if (kept > 0)
      io.out(
        `note: ${kept} older events stay, because in their chain they come after a newer one; they go with the next month\n`,
      );
  });
}

/** The beginning of the month of a day, in UTC. */
function monthOf(day: string): number {
  const [, year, month] = /^(\d{4})-(\d{2})(?:-\d{2})?$/.exec(day) ?? [];
  const isDay = !Number.isNaN(Date.parse(day));
  if (year === undefined || month === undefined || !isDay)
    throw new CliError(EXIT.usage, '--before takes a day, for instance 2026-01-01; whole months before it go');
  const begins = Date.UTC(Number(year), Number(month) - 1, 1);
  if (begins > Date.now() - YOUNGEST_MS)
    throw new CliError(
      EXIT.usage,
      '--before must leave the last 31 days: sidecars may still hold events of that time that belong into these months',
    );
  return begins;
}

async function signerOf(keyFile: string): Promise<CheckpointSigner> {
  try {
    return new CheckpointSigner(deriveSeed(await loadKeyRing(keyFile), 'audit.checkpoint'));
  } catch (error) {
    if (error instanceof KeyRingError)
      throw new CliError(EXIT.noInput, `${error.message}; --key-file names the key ring of the sidecars`);
    throw error;
  }
}

function inWords(step: PruneStep): string {
  return step.step === 'chains'
    ? `looked at ${step.done} chains`
    : `waiting for a quiet moment to take out ${step.partition}`;
}

function asJson({ name, of, from, until, rows, bytes }: Partition) {
  return {
    name,
    table: of,
    ...(from !== undefined && { from: new Date(from).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
    rows,
    bytes,
  };
}

function table(partitions: readonly Partition[]): string {
  const cells = partitions.map(({ name, from, rows, bytes }) => [
    name,
    from === undefined ? 'all other times' : new Date(from).toISOString().slice(0, 7),
    `~${rows} rows`,
    size(bytes),
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`).join('');
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power] ?? ''}`;
}
