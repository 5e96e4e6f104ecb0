import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ClockWatch } from '#src/adapters/postgres/clock-skew.ts';
import { AuditBufferWatch } from '#src/adapters/telemetry/audit-buffer-watch.ts';
import { dependencyGauges } from '#src/adapters/telemetry/dependency-gauges.ts';
import { PrometheusMetrics } from '#src/adapters/telemetry/prometheus-metrics.ts';
import { BY_KEY } from '#src/config/keys.ts';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { EVENT_TYPES } from '#src/domain/audit-event.ts';
import { OUTAGE_TABLE, OUTAGES, type OutageRule, SAME_OUTAGE_WITHIN } from '#src/domain/outage.ts';
import { DEGRADED_HEADER } from '#src/transport/identity.ts';
import { ManualClock } from './support/clock.ts';
import { FakeDependencies } from './support/fake-dependencies.ts';
import { RecordingAudit } from './support/recording-audit.ts';
import { RecordingLog } from './support/recording-telemetry.ts';

const page = readFileSync(new URL('../docs/outages.md', import.meta.url), 'utf8');

const WORDS: Readonly<Record<OutageRule, string>> = {
  goes_on: 'goes on',
  as_configured: 'goes on, or refused: `outage.redis`',
  for_a_time: 'known sessions go on, as long as `outage.postgres` says',
  from_copies: 'goes on with the copy in Redis',
  effect_first: 'in force at once, refused until it is durable',
  refused: 'refused',
};

/** The rows of the table under the heading, without its own two head lines. */
function rowsUnder(heading: string): readonly string[] {
  const part = page.split(/^## /m).find((one) => one.startsWith(heading)) ?? '';
  return part
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1);
}

describe('docs/outages.md', () => {
  it('has the outage table of the code, row by row', () => {
    const table = Object.values(OUTAGE_TABLE).map(
      (row) => `| ${[row.what, ...OUTAGES.map((outage) => WORDS[row[outage]])].join(' | ')} |`,
    );
    expect(rowsUnder('What goes on')).toEqual(table);
  });

  it('has the limits that the settings have when nobody changes them', () => {
    const table = SENSITIVITIES.map((name) => {
      const key = `outage.postgres.${name}`;
      return `| ${name} | \`${key}\` | ${BY_KEY.get(key)?.note.fallback} |`;
    });
    expect(rowsUnder('How long known sessions go on')).toEqual(table);
    expect(page).toContain(`within ${SAME_OUTAGE_WITHIN / 1000} seconds of the end`);
  });

  it('names metrics and settings that exist, and the metadata as it is sent', async () => {
    const clock = new ManualClock();
    const buffer = new AuditBufferWatch(new RecordingAudit(), new RecordingLog());
    const clocks = new ClockWatch({ sql: { read: async () => [] }, clock, log: new RecordingLog(), skewMs: 0 });
    const gauges = [...dependencyGauges(new FakeDependencies(clock), clock), ...buffer.gauges, clocks.gauge];
    const { body } = await new PrometheusMetrics({ version: '1', eventLoopLag: () => 0, gauges }).render();
    const exposed = new Set([...body.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
    const named = [...page.matchAll(/\bsallyport_\w+/g)].map(([name]) => name.replace(/_seconds_count$/, '_seconds'));
    expect(named.length).toBeGreaterThan(8);
    expect(named.filter((name) => !exposed.has(name))).toEqual([]);
    const settings = [...page.matchAll(/`((?:outage|redis|audit)\.[a-z_.]+)\b/g)].map(([, key]) => key ?? '');
    const known = [...BY_KEY.keys(), ...EVENT_TYPES];
    expect(settings.filter((key) => !known.some((one) => one === key || one.startsWith(`${key}.`)))).toEqual([]);
    expect(page).toContain(`\`${DEGRADED_HEADER}\``);
  });
});
