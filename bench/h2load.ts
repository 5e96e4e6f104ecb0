import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { percentile } from './row.ts';

export interface Load {
  readonly requestsPerSecond: number;
  /** Microseconds. */
  readonly p50: number;
  /** Microseconds. */
  readonly p99: number;
}

export interface LoadOptions {
  readonly port: number;
  /** `/package.Service/Method`. */
  readonly path: string;
  /** The encoded request message. */
  readonly message: Uint8Array;
  readonly requests: number;
  readonly connections: number;
  /** Streams in flight on each connection. */
  readonly inFlight: number;
  readonly latencies?: boolean;
}

/** Sends one unary gRPC request over and over, from another process (h2load). Throws unless every one was answered. */
export async function h2load(options: LoadOptions): Promise<Load> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  try {
    const frame = Buffer.alloc(5 + options.message.length);
    frame.writeUInt32BE(options.message.length, 1);
    frame.set(options.message, 5);
    const data = join(folder, 'request');
    writeFileSync(data, frame);
    const log = join(folder, 'log');
    const args = [
      '-n',
      String(options.requests),
      '-c',
      String(options.connections),
      '-m',
      String(options.inFlight),
      '-t',
      '1',
      '-d',
      data,
    ];
    for (const header of ['content-type: application/grpc', 'te: trailers', 'x-sallyport-client: bench'])
      args.push('-H', header);
    if (options.latencies) args.push(`--log-file=${log}`);
    const output = await run('h2load', [...args, `http://127.0.0.1:${options.port}${options.path}`]);
    const rate = /finished in [^,]+, ([\d.]+) req\/s/.exec(output)?.[1];
    const succeeded = /(\d+) succeeded, (\d+) failed, (\d+) errored/.exec(output);
    if (!rate || Number(succeeded?.[1]) !== options.requests) throw new Error(`h2load did not succeed:\n${output}`);
    const times = options.latencies
      ? readFileSync(log, 'utf8')
          .trim()
          .split('\n')
          .map((line) => Number(line.split('\t')[2]))
      : [];
    return { requestsPerSecond: Number(rate), p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      output += chunk;
    });
    child.on('error', reject);
    child.on('exit', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${command} exited ${code}:\n${output}`)),
    );
  });
}
