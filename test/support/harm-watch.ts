import { expect } from 'vitest';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { Sidecar } from './sidecar.ts';

const MIB = 1024 * 1024;

export interface HarmWatch {
  /**
   * Throws unless the same process still lives, serves new callers on both transports, and has grown by less than
   * `maxGrowthMib` since.
   */
  unharmed(maxGrowthMib?: number): Promise<void>;
}

/** Remembers how a sidecar is doing before it is attacked. Warms it up first, so that lazy loading is no growth. */
export async function watchHarm(sidecar: Sidecar): Promise<HarmWatch> {
  await ordinaryCalls(sidecar);
  const residentBefore = await resident(sidecar);
  const { pid } = sidecar.child;
  return {
    async unharmed(maxGrowthMib = 64) {
      expect(sidecar.child.exitCode, `${sidecar.stdout}${sidecar.stderr}`).toBeNull();
      expect(sidecar.child.signalCode).toBeNull();
      expect(sidecar.child.pid).toBe(pid);
      await ordinaryCalls(sidecar);
      const grown = ((await resident(sidecar)) - residentBefore) / MIB;
      expect(grown, 'MiB of resident memory more than before').toBeLessThan(maxGrowthMib);
    },
  };
}

async function ordinaryCalls(sidecar: Sidecar): Promise<void> {
  const client = sidecar.client();
  const { token } = await client.unary(SessionService.method.createSession, { subject: 'bystander' });
  const { session } = await client.unary(SessionService.method.validateSession, { token });
  expect(session?.subject).toBe('bystander');
  const info = await fetch(`${sidecar.httpUrl}/${AdminService.typeName}/GetInfo`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-sallyport-client': 'bystander' },
    body: '{}',
  });
  expect(info.status).toBe(200);
  await info.text();
}

function resident(sidecar: Sidecar): Promise<number> {
  return sidecar.metric('sallyport_process_resident_memory_bytes');
}
