import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DescMethodServerStreaming, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { CliError, EXIT } from './exit-codes.ts';
import { SidecarClient } from './grpc-client.ts';

export interface SidecarSource {
  readonly dataDir: string;
  readonly address?: string;
  readonly tokenFile?: string;
}

/** The operator token from `--token-file`, or from where a sidecar puts it. */
export function operatorToken({ dataDir, tokenFile }: Pick<SidecarSource, 'dataDir' | 'tokenFile'>): string {
  const path = tokenFile ?? join(dataDir, 'operator.token');
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    throw new CliError(EXIT.noInput, `cannot read the operator token in ${path}; name its file with --token-file`);
  }
}

/** A server stream of a running sidecar, as an operator; it ends when `signal` aborts. Errors become sentences. */
export async function* streamFrom<M extends DescMethodServerStreaming>(
  source: SidecarSource & { readonly address: string },
  method: M,
  request: MessageInitShape<M['input']>,
  signal: AbortSignal,
): AsyncGenerator<MessageShape<M['output']>> {
  const client = new SidecarClient(source.address, { name: 'sallyport-cli', operatorToken: operatorToken(source) });
  const call = client.serverStream(method, request);
  const stop = () => call.cancel();
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (signal.aborted) return;
    yield* call as AsyncIterable<MessageShape<M['output']>>;
  } catch (error) {
    if (signal.aborted) return;
    throw inWords(error, source.address);
  } finally {
    signal.removeEventListener('abort', stop);
    call.cancel();
    client.close();
  }
}

/** What went wrong at the other end, as a sentence with an exit code. */
export function inWords(error: unknown, address: string): CliError {
  const { code, details = '' } = error as { code?: number; details?: string };
  if (code === status.UNAVAILABLE)
    return new CliError(EXIT.unavailable, `no sidecar answers at ${address}: ${details}`);
  if (code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED)
    return new CliError(EXIT.noInput, `the sidecar at ${address} does not take the operator token: ${details}`);
  if (code === status.INVALID_ARGUMENT || code === status.NOT_FOUND) return new CliError(EXIT.usage, details);
  return new CliError(EXIT.unavailable, `the sidecar at ${address} failed: ${details || String(error)}`);
}
