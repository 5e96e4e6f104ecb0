import type { RpcMetrics } from '#src/ports/telemetry.ts';

/** Counts finished calls as `system method code errorType`. */
export class CountingRpcMetrics implements RpcMetrics {
  readonly calls = new Map<string, number>();
  streams = 0;

  callDuration(system: 'grpc' | 'connectrpc', method: string, statusCode: string, errorType: string) {
    const key = `${system} ${method} ${statusCode} ${errorType}`.trimEnd();
    return (seconds: number) => {
      if (!(seconds >= 0)) throw new RangeError(`a call took ${seconds} seconds`);
      this.calls.set(key, (this.calls.get(key) ?? 0) + 1);
    };
  }

  openStreams(change: 1 | -1): void {
    this.streams += change;
  }
}
