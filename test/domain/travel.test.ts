import { describe, expect, it } from 'vitest';
import { HOUR } from '#src/domain/time.ts';
import { distanceKm, isImpossibleTravel } from '#src/domain/travel.ts';

const LONDON = { countryCode: 'GB', city: 'London', latitude: 51.5, longitude: -0.1 };
const NEW_YORK = { countryCode: 'US', city: 'New York', latitude: 40.7, longitude: -74 };
const OXFORD = { countryCode: 'GB', city: 'Oxford', latitude: 51.8, longitude: -1.3 };
const SUVA = { countryCode: 'FJ', city: 'Suva', latitude: -18.1, longitude: 178.4 };
const APIA = { countryCode: 'WS', city: 'Apia', latitude: -13.8, longitude: -171.8 };

describe('distance', () => {
  it('is the great circle', () => {
    expect(distanceKm(LONDON, NEW_YORK)).toBeCloseTo(5_570, -1.5);
    expect(distanceKm(LONDON, LONDON)).toBe(0);
  });

  it('goes over the date line the short way', () => {
    expect(distanceKm(SUVA, APIA)).toBeLessThan(1_200);
  });
});

describe('impossible travel', () => {
  const from = { location: LONDON, at: 0 };

  it('is a flight to New York in five hours, and not in seven', () => {
    expect(isImpossibleTravel(from, { location: NEW_YORK, at: 5 * HOUR })).toBe(true);
    expect(isImpossibleTravel(from, { location: NEW_YORK, at: 7 * HOUR })).toBe(false);
  });

  it('is never a place nearby, not even in no time', () => {
    expect(isImpossibleTravel(from, { location: OXFORD, at: 0 })).toBe(false);
  });

  it('is every far place when the clock went back', () => {
    expect(isImpossibleTravel({ location: LONDON, at: 24 * HOUR }, { location: NEW_YORK, at: 0 })).toBe(true);
  });
});
