import { expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '#src/gen/health/v1/health_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { GrpcClient } from '../support/grpc-client.ts';
import { Sidecar } from '../support/sidecar.ts';

async function health(client: GrpcClient, service: string): Promise<ServingStatus> {
  return (await client.unary(Health.method.check, { service })).status;
}

it('a trail that fills up raises the alarm first, then shows in metrics and in health over gRPC, but not in liveness', async () => {
  await using sidecar = await Sidecar.start({ env: { SALLYPORT_AUDIT_MAX_BYTES: '1MiB' } });
  const client = sidecar.client();
  expect(await health(client, 'readiness')).toBe(ServingStatus.SERVING);
  expect(await sidecar.metric('sallyport_audit_writable')).toBe(1);
  const userAgent = 'u'.repeat(1_024);
  const fill = (index: number) =>
    client.unary(SessionService.method.createSession, { subject: `filler-${index}`, client: { userAgent } }).then(
      () => true,
      () => false,
    );
  let granted = true;
  for (let index = 0; index < 4_000 && granted; index += 40) {
    granted = (await Promise.all(Array.from({ length: 40 }, (_, one) => fill(index + one)))).includes(true);
  }
  expect(granted).toBe(false);
  await expect.poll(() => health(client, 'readiness'), { timeout: 5_000 }).toBe(ServingStatus.NOT_SERVING);
  expect(await health(client, SessionService.typeName)).toBe(ServingStatus.NOT_SERVING);
  expect(await health(client, 'liveness')).toBe(ServingStatus.SERVING);
  expect(await sidecar.metric('sallyport_audit_writable')).toBe(0);
  expect(await sidecar.metric('sallyport_audit_buffer_bytes')).toBeGreaterThan(800_000);
  expect(await sidecar.metric('sallyport_audit_durable_sequence')).toBeGreaterThan(100);
  expect(sidecar.stderr.match(/the audit buffer is nearly full/g)).toHaveLength(1);
});
