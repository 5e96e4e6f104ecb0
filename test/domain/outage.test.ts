import { describe, expect, it } from 'vitest';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { courseOf, isOfUse, OUTAGE_TABLE, OUTAGES, outageOf, type Work } from '#src/domain/outage.ts';
import { MINUTE } from '#src/domain/time.ts';
import { methodTable } from '#src/transport/methods.ts';
import { DEFAULT_LIMITS, outageCells, STRICT_LIMITS } from '../support/outage-cells.ts';

const WORKS = Object.keys(OUTAGE_TABLE) as Work[];

describe('the outage table', () => {
  it('has a place for every RPC of this release of the API, and only one', () => {
    const ours = [...methodTable().values()].filter(({ access, release }) => access !== 'open' && release === 'now');
    const served = ours.map(({ procedure }) => procedure.replace('/sallyport.v1.', ''));
    expect(WORKS.flatMap((work) => [...OUTAGE_TABLE[work].rpcs]).sort()).toEqual(served.sort());
  });

  it('lets nothing that is written go on without PostgreSQL', () => {
    const changing = [...methodTable().values()].filter(
      ({ repeat, release }) => repeat !== 'safe' && release === 'now',
    );
    for (const { procedure } of changing) {
      const rpc = procedure.replace('/sallyport.v1.', '');
      const work = WORKS.find((one) => OUTAGE_TABLE[one].rpcs.includes(rpc)) ?? 'look_after';
      for (const outage of ['postgres', 'both'] as const)
        for (const sensitivity of SENSITIVITIES)
          expect(courseOf(work, outage, sensitivity, DEFAULT_LIMITS, 0), rpc).not.toBe('goes_on');
    }
  });

  it('lets nothing go on without both but the sidecar speaking of itself', () => {
    for (const { work, outage, course } of outageCells())
      if (outage === 'both') expect(course, work).toBe(work === 'look_after' ? 'goes_on' : 'refused');
  });

  it('never lets go on without both what is refused without one', () => {
    for (const work of WORKS) {
      for (const sensitivity of SENSITIVITIES) {
        const course = (outage: (typeof OUTAGES)[number]) => courseOf(work, outage, sensitivity, STRICT_LIMITS, 0);
        if (course('both') === 'goes_on') expect([course('redis'), course('postgres')]).toEqual(['goes_on', 'goes_on']);
      }
    }
  });

  it.each([
    ['low', 15 * MINUTE],
    ['normal', 5 * MINUTE],
    ['sensitive', MINUTE],
  ] as const)(
    'lets known sessions go on for %s use without PostgreSQL up to the limit, and not at it',
    (name, limit) => {
      const at = (awayMs: number) => courseOf('validate_session', 'postgres', name, DEFAULT_LIMITS, awayMs);
      expect([at(0), at(limit - 1), at(limit), at(10 * limit)]).toEqual(['goes_on', 'goes_on', 'refused', 'refused']);
    },
  );

  it('lets no session go on for critical use without PostgreSQL, from its first moment', () => {
    expect(courseOf('validate_session', 'postgres', 'critical', DEFAULT_LIMITS, 0)).toBe('refused');
  });

  it.each(['validate_session', 'open_challenge'] as const)('refuses to %s without Redis only where told to', (work) => {
    const courses = SENSITIVITIES.map((sensitivity) => courseOf(work, 'redis', sensitivity, STRICT_LIMITS, 0));
    expect(courses).toEqual(['goes_on', 'goes_on', 'refused', 'refused']);
    for (const sensitivity of SENSITIVITIES)
      expect(courseOf(work, 'redis', sensitivity, DEFAULT_LIMITS, 0)).toBe('goes_on');
  });

  it('is told cell by cell, each kind of work in each outage for each sensitivity', () => {
    const told = new Set(outageCells().map(({ work, outage, sensitivity }) => `${work} ${outage} ${sensitivity}`));
    expect(told.size).toBe(WORKS.length * OUTAGES.length * SENSITIVITIES.length);
  });
});

describe('what is away', () => {
  it.each([
    ['up', 'up', undefined],
    ['none', 'none', undefined],
    ['none', 'up', undefined],
    ['away', 'up', 'redis'],
    ['up', 'away', 'postgres'],
    ['away', 'away', 'both'],
    // No other place holds a copy.
    ['none', 'away', 'both'],
  ] as const)('is, with Redis %s and PostgreSQL %s, %s', (redis, postgres, outage) => {
    expect(outageOf(redis, postgres)).toBe(outage);
  });
});

describe('a sidecar', () => {
  it('is of use while anything is that its application asks for', () => {
    expect(isOfUse(undefined, DEFAULT_LIMITS, 0)).toBe(true);
    expect(isOfUse('redis', DEFAULT_LIMITS, 0)).toBe(true);
    expect(isOfUse('postgres', DEFAULT_LIMITS, 15 * MINUTE - 1)).toBe(true);
    expect(isOfUse('postgres', DEFAULT_LIMITS, 15 * MINUTE)).toBe(false);
    expect(isOfUse('both', DEFAULT_LIMITS, 0)).toBe(false);
  });
});
