import { setTimeout as pause } from 'node:timers/promises';
import { errorInfo } from './grpc-client.ts';

const PAUSE_MS = 200;

/**
 * As callers are to do it (docs/outages.md): who is told that the stores cannot answer now asks again. They may be busy, but
 * not for longer than this. Other errors are thrown at once.
 */
export async function insist<T>(call: () => Promise<T>, limitMs = 10_000): Promise<T> {
  for (const until = performance.now() + limitMs; ; ) {
    try {
      return await call();
    } catch (error) {
      if (errorInfo(error).reason !== 'STORE_UNAVAILABLE' || performance.now() > until) throw error;
      await pause(PAUSE_MS);
    }
  }
}
