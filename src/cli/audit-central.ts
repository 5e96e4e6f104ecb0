import { exportCentral } from '#src/adapters/central/export-central.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import type { ExportItem } from '../ports/audit.ts';
import type { Report } from './audit-report.ts';
import { type CentralTrail, withCentralTrail } from './central-trail.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import type { PostgresOptions } from './postgres-source.ts';

/** Verifies the trail of all sidecars in PostgreSQL, or one chain of it. */
export async function examineCentral(
  options: PostgresOptions & { readonly chain?: string; readonly partial?: boolean },
  trusted: ReadonlySet<string> | undefined,
  io: Io,
): Promise<Report> {
  if (options.partial) throw new CliError(EXIT.usage, '--partial is for exports; the central trail is whole');
  return await withCentralTrail(options, 'audit verify', io, async ({ chains }) => {
    const progress = process.stderr.isTTY ? await progressOn(io, () => chains.estimate()) : undefined;
    try {
      const found = await verifyCentral(chains, {
        chainId: options.chain ?? '',
        ...(trusted && { trustedKeyIds: trusted }),
        ...(progress && { onProgress: progress.show }),
      });
      const { verdict, unsigned, pruned } = found;
      const notes = [
        ...(pruned > 0 ? [`${counted(pruned, 'chain begins', 'chains begin')} where older events were pruned`] : []),
        ...(unsigned > 0 ? [`${counted(unsigned, 'row is', 'rows are')} not under a signed checkpoint yet`] : []),
      ];
      return { verdict, notes, where: `in ${counted(found.chains, 'chain', 'chains')} ` };
    } finally {
      progress?.done();
    }
  });
}

/** Everything that verification needs, in order, for as long as somebody takes it. */
export async function writeCentral(
  options: PostgresOptions,
  range: { readonly chainId: string; readonly from: number; readonly to: number },
  write: (item: ExportItem) => void,
  io: Io,
): Promise<void> {
  let interrupted = false;
  const forget = io.onSignal(() => {
    interrupted = true;
  });
  try {
    await withCentralTrail(options, 'audit export', io, ({ chains }) =>
      writePages(chains, range, write, () => interrupted),
    );
  } finally {
    forget();
  }
}

async function writePages(
  chains: CentralTrail['chains'],
  range: { readonly chainId: string; readonly from: number; readonly to: number },
  write: (item: ExportItem) => void,
  isInterrupted: () => boolean,
): Promise<void> {
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    if (isInterrupted()) throw new CliError(EXIT.interrupted, 'interrupted; the export is not whole');
    const page: Awaited<ReturnType<typeof exportCentral>> = await exportCentral(chains, range, cursor);
    for (const item of page.items) write(item);
    cursor = page.next;
  }
}

async function progressOn(io: Io, estimate: () => Promise<number>) {
  const total = await estimate();
  const of = total > 0 ? ` of about ${total}` : '';
  return {
    show: (rows: number) => io.err(`\r${rows}${of} rows verified …`),
    done: () => io.err('\r\u001b[K'),
  };
}

function counted(count: number, one: string, more: string): string {
  return `${count} ${count === 1 ? one : more}`;
}
