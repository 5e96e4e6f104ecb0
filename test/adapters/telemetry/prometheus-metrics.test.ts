import { describe, expect, it } from 'vitest';
import { PrometheusMetrics } from '#src/adapters/telemetry/prometheus-metrics.ts';
import { CounterTally } from '#src/adapters/telemetry/tally.ts';

const make = () => new PrometheusMetrics({ version: '1.2.3', eventLoopLag: () => 0.25 });

/** Lines of one series, by its name and labels as text. */
async function values(metrics: PrometheusMetrics): Promise<Map<string, number>> {
  const { body } = await metrics.render();
  return new Map(
    body
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))] as const;
      }),
  );
}

function feed(metrics: PrometheusMetrics): void {
  metrics.challengeEnded('totp', 'APPROVED', 'PROOF', 4);
  metrics.proof('totp', 'wrong');
  metrics.proof('totp', 'wrong');
  metrics.validation('valid', 'cache');
  metrics.validation('invalid', 'store');
  metrics.sessionEnded('LOGOUT');
  metrics.events('session.created', 'SUCCESS', 2);
  metrics.eventsLost(3);
  metrics.eventFolded();
  metrics.riskSignal('address_changed');
  metrics.openStreams(1);
  metrics.openStreams(1);
  metrics.openStreams(-1);
  const record = metrics.callDuration('grpc', 'sallyport.v1.SessionService/ValidateSession', 'OK', '');
  for (const seconds of [0.00005, 0.0001, 0.0002, 0.7, 60]) record(seconds);
}

describe('metrics', () => {
  it('show what was counted, again and again', async () => {
    const metrics = make();
    feed(metrics);
    for (const times of [1, 1]) {
      const seen = await values(metrics);
      expect(seen.get('sallyport_challenges_ended_total{method="totp",state="APPROVED",reason="PROOF"}')).toBe(times);
      const took = (upTo: string) =>
        `sallyport_challenge_duration_seconds_bucket{method="totp",state="APPROVED",le="${upTo}"}`;
      expect(['2.5', '5', '+Inf'].map((upTo) => seen.get(took(upTo)))).toEqual([0, 1, 1]);
      expect(seen.get('sallyport_proofs_total{method="totp",result="wrong"}')).toBe(2);
      expect(seen.get('sallyport_session_validations_total{result="valid",source="cache"}')).toBe(1);
      expect(seen.get('sallyport_session_validations_total{result="valid",source="store"}')).toBe(0);
      expect(seen.get('sallyport_audit_events_lost_total')).toBe(3);
      expect(seen.get('sallyport_audit_events_folded_total')).toBe(1);
      expect(seen.get('sallyport_rpc_server_open_streams')).toBe(1);
      expect(seen.get('sallyport_build_info{version="1.2.3"}')).toBe(1);
      expect(seen.get('sallyport_event_loop_lag_seconds')).toBe(0.25);
      expect(seen.get('sallyport_process_resident_memory_bytes')).toBeGreaterThan(1e6);
    }
    metrics.eventFolded();
    expect((await values(metrics)).get('sallyport_audit_events_folded_total')).toBe(2);
  });

  it('put durations into cumulative buckets from 0.1 ms to 10 s', async () => {
    const metrics = make();
    feed(metrics);
    const seen = await values(metrics);
    const labels =
      'rpc_system_name="grpc",rpc_method="sallyport.v1.SessionService/ValidateSession",rpc_status_code="OK",error_type=""';
    const bucket = (le: string) => seen.get(`sallyport_rpc_server_call_duration_seconds_bucket{${labels},le="${le}"}`);
    expect(['0.0001', '0.00025', '0.5', '1', '10', '+Inf'].map(bucket)).toEqual([2, 3, 3, 4, 4, 5]);
    expect(seen.get(`sallyport_rpc_server_call_duration_seconds_count{${labels}}`)).toBe(5);
    expect(seen.get(`sallyport_rpc_server_call_duration_seconds_sum{${labels}}`)).toBeCloseTo(60.70035);
  });

  it('follow the naming rules of Prometheus', async () => {
    const metrics = make();
    feed(metrics);
    const { body } = await metrics.render();
    const types = [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type]) => ({ name, type }));
    expect(types.length).toBeGreaterThan(12);
    expect(new Set(types.map(({ name }) => name)).size).toBe(types.length);
    for (const { name, type } of types) {
      expect(name).toMatch(/^sallyport(_[a-z]+)+$/);
      expect(name).not.toMatch(/_(ms|milliseconds|minutes|kb|mb|percent|count|sum|bucket)$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      if (type === 'histogram') expect(name).toMatch(/_(seconds|bytes)$/);
      expect(body).toMatch(new RegExp(`^# HELP ${name} \\S.*\\.$`, 'm'));
    }
    const labels = new Set([...body.matchAll(/[{,]([a-z_]+)="/g)].map(([, label]) => label));
    for (const personal of ['subject', 'user', 'ip', 'address', 'session', 'token'])
      expect(labels).not.toContain(personal);
  });

  it('cannot be grown without bound by a label', () => {
    const tally = new CounterTally({ name: 'x_total', help: 'X.', labels: ['a'] });
    for (let i = 0; i < 5_000; i++) tally.bind(`v${i}`).value += 1;
    expect(tally.series().length).toBeLessThanOrEqual(1_001);
    expect(tally.series().reduce((sum, { child }) => sum + child.value, 0)).toBe(5_000);
  });
});
