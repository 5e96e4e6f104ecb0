import type { Location } from './session.ts';
import { type EpochMs, HOUR } from './time.ts';

/** Where the person was last seen. */
export interface Sighting {
  readonly location: Location;
  readonly at: EpochMs;
}

const EARTH_RADIUS_KM = 6_371;
/** Coarse locations err by this much; nothing closer counts as travel. */
const BLUR_KM = 100;
/** Airliners cruise at about this speed. */
export const MAX_SPEED_KMH = 900;

/** Great-circle distance in kilometres (haversine). */
export function distanceKm(a: Location, b: Location): number {
  const radians = (degrees: number) => (degrees * Math.PI) / 180;
  const latitude = Math.sin(radians(b.latitude - a.latitude) / 2) ** 2;
  const longitude = Math.sin(radians(b.longitude - a.longitude) / 2) ** 2;
  const share = latitude + Math.cos(radians(a.latitude)) * Math.cos(radians(b.latitude)) * longitude;
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.min(1, Math.sqrt(share)));
}

/** Whether nobody travels from one sighting to the other in the time between. A clock that went back gives no time at all. */
export function isImpossibleTravel(from: Sighting, to: Sighting): boolean {
  const distance = distanceKm(from.location, to.location) - BLUR_KM;
  if (distance <= 0) return false;
  const hours = Math.max(0, to.at - from.at) / HOUR;
  return distance > MAX_SPEED_KMH * hours;
}
