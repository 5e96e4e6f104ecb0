import { closeSync, createReadStream, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import { MAX_LINE_LENGTH, parseLine } from '#src/adapters/audit/export-lines.ts';
import { ChainVerifier, UnreadableError } from '#src/adapters/audit/verify.ts';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { deriveSeed, KeyRingError } from '#src/adapters/secrets/key-ring.ts';
import { loadKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { FAULT_EXIT } from './audit-faults.ts';
import { inWords, type Report } from './audit-report.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Io } from './io.ts';
import type { PostgresOptions } from './postgres-source.ts';

export interface VerifyOptions extends PostgresOptions {
  readonly dataDir: string;
  /** The trail of all sidecars in PostgreSQL. */
  readonly central?: boolean;
  readonly chain?: string;
  readonly json?: boolean;
  readonly partial?: boolean;
  readonly trust?: readonly string[];
  readonly keyFile?: string;
}

/** Prints the verdict; throws CliError with the fault's code when there is one. */
export async function verify(source: string | undefined, options: VerifyOptions, io: Io): Promise<void> {
  const trusted = await trustedKeys(options);
  const { verdict, notes, where } = options.central
    ? await central(source, options, trusted, io)
    : await examine(source ?? options.dataDir, options, trusted, io);
  if (options.json) io.out(`${JSON.stringify({ ...verdict, notes })}\n`);
  else io.out(inWords(verdict, where) + notes.map((note) => `note: ${note}\n`).join(''));
  if (!verdict.intact) throw new CliError(FAULT_EXIT[verdict.fault]);
}

async function central(
  source: string | undefined,
  options: VerifyOptions,
  trusted: ReadonlySet<string> | undefined,
  io: Io,
): Promise<Report> {
  if (source !== undefined)
    throw new CliError(EXIT.usage, '--central takes no source; PostgreSQL is named by settings');
  return await (await import('./audit-central.ts')).examineCentral(options, trusted, io);
}

async function examine(
  source: string,
  options: VerifyOptions,
  trusted: ReadonlySet<string> | undefined,
  io: Io,
): Promise<Report> {
  if (options.chain !== undefined) throw new CliError(EXIT.usage, '--chain is for --central');
  if (source === '-') return verifyLines(process.stdin.setEncoding('utf8'), options, trusted);
  const path = locate(source);
  switch (kindOf(path)) {
    case 'database':
      return verifyDatabase(path, options, trusted, io);
    case 'lines':
      return verifyLines(createReadStream(path, 'utf8'), options, trusted);
    case 'unknown': {
      const detail = 'neither an audit file nor an export';
      const verdict = {
        intact: false,
        rows: 0,
        checkpoints: 0,
        fault: 'UNREADABLE',
        chainId: '',
        sequence: 0,
        detail,
      } as const;
      return { verdict, notes: asideNotes(path) };
    }
  }
}

function locate(source: string): string {
  try {
    const path = statSync(source).isDirectory() ? join(source, 'audit.db') : source;
    if (!existsSync(path))
      throw new CliError(EXIT.noInput, `there is no audit file at ${path}; name the data directory with --data-dir`);
    return path;
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(
      EXIT.noInput,
      `cannot read ${source}: ${codeOf(error)}; name the data directory with --data-dir`,
    );
  }
}

function kindOf(path: string): 'database' | 'lines' | 'unknown' {
  const start = Buffer.alloc(16);
  try {
    const file = openSync(path, 'r');
    try {
      readSync(file, start);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw new CliError(EXIT.noInput, `cannot read ${path}: ${codeOf(error)}`);
  }
  if (start.toString('latin1') === 'SQLite format 3\0') return 'database';
  return start[0] === 0x7b ? 'lines' : 'unknown';
}

function verifyDatabase(
  path: string,
  options: VerifyOptions,
  trusted: ReadonlySet<string> | undefined,
  io: Io,
): Report {
  if (options.partial) throw new CliError(EXIT.usage, '--partial is for exports; an audit file is whole');
  let shown = false;
  const onProgress = (rows: number, total: number) => {
    shown = true;
    io.err(`\rverifying ${Math.min(99, Math.floor((100 * rows) / total))} % of ${total} rows …`);
  };
  try {
    const found = verifyFile(path, {
      ...(trusted && { trustedKeyIds: trusted }),
      ...(process.stderr.isTTY && { onProgress }),
    });
    const notes = asideNotes(path);
    if (!found.anchored) notes.push('there is no anchor file beside it, so a cut tail may go unseen');
    if (found.unsigned > 0) notes.push(`the last ${found.unsigned} rows are not under a signed checkpoint yet`);
    return { verdict: found.verdict, notes };
  } catch (error) {
    throw new CliError(EXIT.noInput, `cannot read ${path}: ${codeOf(error)}`);
  } finally {
    if (shown) io.err('\r\u001b[K');
  }
}

async function verifyLines(
  stream: AsyncIterable<string>,
  options: VerifyOptions,
  trusted: ReadonlySet<string> | undefined,
): Promise<Report> {
  const verifier = new ChainVerifier({
    partial: options.partial === true,
    ...(trusted && { trustedKeyIds: trusted }),
  });
  let signed = 0;
  let last = 0;
  try {
    let number = 0;
    for await (const line of linesOf(stream)) {
      number += 1;
      const item = parseLine(line, number);
      if (item.kind === 'chain') signed = last = 0;
      else if (item.kind === 'checkpoint') signed = Math.max(signed, item.checkpoint.sequence);
      else if (item.kind === 'row') last = item.row.sequence;
      if (!verifier.push(item)) break;
    }
    if (number === 0) throw new UnreadableError('it is empty');
  } catch (error) {
    if (error instanceof UnreadableError) return { verdict: verifier.unreadable(error.message), notes: [] };
    throw new CliError(EXIT.noInput, `cannot read the export: ${codeOf(error)}`);
  }
  const notes =
    last > signed
      ? [`the last ${last - signed} rows are not under a signed checkpoint, so a cut there may go unseen`]
      : [];
  return { verdict: verifier.verdict(), notes };
}

async function* linesOf(stream: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
    if (rest.length > MAX_LINE_LENGTH) throw new UnreadableError('it has a line longer than any of an export');
  }
  if (rest !== '') yield rest;
}

async function trustedKeys(options: VerifyOptions): Promise<ReadonlySet<string> | undefined> {
  if (!options.trust && !options.keyFile) return undefined;
  const trusted = new Set(options.trust);
  if (options.keyFile) {
    try {
      const ring = await loadKeyRing(options.keyFile);
      trusted.add(new CheckpointSigner(deriveSeed(ring, 'audit.checkpoint')).key.keyId);
    } catch (error) {
      if (error instanceof KeyRingError) throw new CliError(EXIT.noInput, error.message);
      throw error;
    }
  }
  return trusted;
}

/** Damaged files of earlier, which a sidecar set aside and went on from. */
function asideNotes(path: string): string[] {
  const prefix = `${basename(path)}.damaged-`;
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix) && !/-(wal|shm)$/.test(name))
    .map((name) => `an earlier file was damaged and is kept as ${name}`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
