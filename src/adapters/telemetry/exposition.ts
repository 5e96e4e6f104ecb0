import { Counter, type Metric, Gauge as PromGauge, Registry } from 'prom-client';
import type { CounterTally, Gauge, HistogramTally } from './tally.ts';

export interface Exposed {
  readonly counters: readonly CounterTally[];
  readonly histograms: readonly HistogramTally[];
  /** With whole names. Those of one name are one metric: they have the same labels with other values. */
  readonly gauges: readonly Gauge[];
}

/** Answers a function that writes everything as it stands, in the Prometheus text format. */
export function exposition({ counters, histograms, gauges }: Exposed): () => Promise<string> {
  const registry = new Registry();
  for (const tally of counters) {
    new Counter({
      name: tally.name,
      help: tally.help,
      labelNames: [...tally.labels],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, child } of tally.series()) this.inc(labels, child.value);
      },
    });
  }
  for (const [name, family] of Map.groupBy(gauges, (gauge) => gauge.name)) {
    const { help = '', kind, labels = {} } = family[0] ?? {};
    const config = { name, help, labelNames: Object.keys(labels), registers: [registry] };
    if (kind === 'gauge') {
      new PromGauge({
        ...config,
        collect() {
          for (const { labels: own = {}, read } of family) this.set(own, read());
        },
      });
    } else {
      new Counter({
        ...config,
        collect() {
          this.reset();
          for (const { labels: own = {}, read } of family) this.inc(own, read());
        },
      });
    }
  }
  // A registry only asks a metric for its values, and these are not kept the way prom-client keeps them.
  for (const tally of histograms) registry.registerMetric(histogramMetric(tally) as unknown as Metric);
  return () => registry.metrics();
}

function histogramMetric(tally: HistogramTally) {
  const { name, help } = tally;
  const get = async () => ({
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    values: tally.series().flatMap(({ labels, child }) => {
      const { buckets, count, sum } = child.read();
      return [
        ...buckets.map(([le, value]) => ({ metricName: `${name}_bucket`, labels: { ...labels, le }, value })),
        { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: count },
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ];
    }),
  });
  return { name, help, get };
}
