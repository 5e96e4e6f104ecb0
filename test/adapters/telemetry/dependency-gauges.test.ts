import { describe, expect, it } from 'vitest';
import { dependencyGauges } from '#src/adapters/telemetry/dependency-gauges.ts';
import { PrometheusMetrics } from '#src/adapters/telemetry/prometheus-metrics.ts';
import { type DependencyName, NO_DEPENDENCIES } from '#src/ports/dependencies.ts';
import { ManualClock } from '../../support/clock.ts';
import { FakeDependencies } from '../../support/fake-dependencies.ts';

function world(names?: readonly DependencyName[]) {
  const clock = new ManualClock();
  const dependencies = names?.length === 0 ? undefined : new FakeDependencies(clock, names);
  const gauges = dependencyGauges(dependencies ?? NO_DEPENDENCIES, clock);
  const metrics = new PrometheusMetrics({ version: '1', eventLoopLag: () => 0, gauges });
  const shown = async () => {
    const { body } = await metrics.render();
    const lines = body.split('\n').filter((line) => /^sallyport_(degraded|dependency_)/.test(line));
    return lines.map((line) => line.replace('sallyport_', ''));
  };
  return { clock, dependencies, metrics, shown };
}

describe('the gauges of dependencies', () => {
  it('say that an embedded sidecar lacks nothing and depends on nothing', async () => {
    expect(await world([]).shown()).toEqual(['degraded 0']);
  });

  it('say of each dependency whether it is up, for how long it has been away, and how often it went', async () => {
    const { clock, dependencies, shown } = world();
    expect(await shown()).toEqual([
      'degraded 0',
      'dependency_up{dependency="redis"} 1',
      'dependency_up{dependency="postgres"} 1',
      'dependency_away_seconds{dependency="redis"} 0',
      'dependency_away_seconds{dependency="postgres"} 0',
      'dependency_outages_total{dependency="redis"} 0',
      'dependency_outages_total{dependency="postgres"} 0',
    ]);
    dependencies?.leave('redis');
    dependencies?.comeBack('redis');
    dependencies?.leave('redis', 'postgres');
    clock.advance(2_500);
    dependencies?.comeBack('postgres');
    expect(await shown()).toEqual([
      'degraded 1',
      'dependency_up{dependency="redis"} 0',
      'dependency_up{dependency="postgres"} 1',
      'dependency_away_seconds{dependency="redis"} 2.5',
      'dependency_away_seconds{dependency="postgres"} 0',
      'dependency_outages_total{dependency="redis"} 2',
      'dependency_outages_total{dependency="postgres"} 1',
    ]);
  });

  it('have one help and one type for each metric, as the format asks', async () => {
    const { body } = await world().metrics.render();
    expect(body.match(/^# TYPE sallyport_dependency_up gauge$/gm)).toHaveLength(1);
    expect(body.match(/^# TYPE sallyport_dependency_outages_total counter$/gm)).toHaveLength(1);
    expect(body.match(/^# HELP sallyport_dependency_away_seconds /gm)).toHaveLength(1);
  });
});
