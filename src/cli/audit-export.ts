import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { ChainSource } from '#src/adapters/audit/chain-source.ts';
import { formatLine } from '#src/adapters/audit/export-lines.ts';
import { type ExportRange, exportPage } from '#src/adapters/audit/export-page.ts';
import { withSnapshot } from '#src/adapters/audit/verify-file.ts';
import { AuditService, type ExportEventsResponse } from '#src/gen/sallyport/v1/audit_pb.js';
import type { ExportItem } from '../ports/audit.ts';
import { type SidecarSource, streamFrom } from './audit-client.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import type { PostgresOptions } from './postgres-source.ts';

export interface ExportOptions extends SidecarSource, PostgresOptions {
  readonly dataDir: string;
  /** From PostgreSQL, all sidecars. */
  readonly central?: boolean;
  readonly chain?: string;
  readonly from: number;
  readonly to: number;
  readonly output?: string;
}

export async function exportTrail(options: ExportOptions, io: Io): Promise<void> {
  const range = { chainId: options.chain ?? '', from: options.from, to: options.to };
  if (range.to !== 0 && range.to < range.from) throw new CliError(EXIT.usage, '--to must not be before --from');
  const { address } = options;
  if (options.central && address !== undefined)
    throw new CliError(EXIT.usage, '--central and --address name two different sources');
  const { write, close } = openOutput(options.output, io);
  try {
    if (options.central)
      await (await import('./audit-central.ts')).writeCentral(options, range, (item) => write(formatLine(item)), io);
    else if (address === undefined)
      for (const item of fromFile(join(options.dataDir, 'audit.db'), range)) write(formatLine(item));
    else for await (const item of fromSidecar({ ...options, address }, range, io)) write(formatLine(item));
  } finally {
    close();
  }
}

function openOutput(path: string | undefined, io: Io) {
  if (path === undefined) return { write: (text: string) => io.out(text), close: () => {} };
  try {
    const file = openSync(path, 'wx', 0o600);
    return { write: (text: string) => void writeSync(file, text), close: () => closeSync(file) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error;
    throw new CliError(
      EXIT.noInput,
      `cannot write ${path}: ${code === 'EEXIST' ? 'it is there already' : String(code)}`,
    );
  }
}

function fromFile(path: string, range: ExportRange): readonly ExportItem[] | Generator<ExportItem> {
  if (!existsSync(path))
    throw new CliError(EXIT.noInput, `there is no audit file at ${path}; name the data directory with --data-dir`);
  return withSnapshotItems(path, range);
}

/** The snapshot stays open while the items are taken, so memory stays small however long the trail is. */
function* withSnapshotItems(path: string, range: ExportRange): Generator<ExportItem> {
  let cursor: string | undefined = '';
  while (cursor !== undefined) {
    const from: string = cursor;
    // Rows are only ever added, and the cursor carries the end that the first page saw.
    const page = withSnapshot(path, (db) => {
      if (typeof db === 'string') throw new CliError(EXIT.data, `${path}: ${db}; run: sallyport audit verify`);
      const last = db.prepare<[], { last: number | null }>('SELECT max(position) AS last FROM events').get();
      return exportPage(new ChainSource(db), range, from, last?.last ?? 0);
    });
    yield* page.items;
    cursor = page.next;
  }
}

async function* fromSidecar(source: SidecarSource & { readonly address: string }, range: ExportRange, io: Io) {
  const stopped = new AbortController();
  const forget = io.onSignal(() => stopped.abort());
  const request = { chainId: range.chainId, startSequence: BigInt(range.from), endSequence: BigInt(range.to) };
  try {
    for await (const piece of streamFrom(source, AuditService.method.exportEvents, request, stopped.signal)) {
      const item = itemOf(piece);
      if (item) yield item;
    }
    if (stopped.signal.aborted) throw new CliError(EXIT.interrupted, 'interrupted; the export is not whole');
  } finally {
    forget();
  }
}

function itemOf({ item }: ExportEventsResponse): ExportItem | undefined {
  switch (item.case) {
    case 'key':
      return { kind: 'key', key: item.value };
    case 'chain':
      return { kind: 'chain', chain: item.value };
    case 'row':
      return { kind: 'row', row: { ...item.value, sequence: Number(item.value.sequence) } };
    case 'checkpoint': {
      const { signTime, sequence, ...rest } = item.value;
      const signedAt = signTime ? timestampMs(signTime) : 0;
      return { kind: 'checkpoint', checkpoint: { ...rest, sequence: Number(sequence), signedAt } };
    }
    default:
      return undefined;
  }
}
