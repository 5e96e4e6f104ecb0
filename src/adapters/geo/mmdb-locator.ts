import { readFile } from 'node:fs/promises';
import { type CityResponse, Reader } from 'mmdb-lib';
import { Fault } from '#src/domain/faults.ts';
import type { Location } from '#src/domain/session.ts';
import type { Locator } from '#src/ports/devices.ts';

/**
 * Opens a MaxMind city database (GeoLite2-City, GeoIP2-City or one in their format) and keeps it in memory.
 * Rejects with Fault(invalid, FIELD_INVALID) that names the file when it cannot be read, is no
 * MaxMind database, or knows no cities: a deployment that asks for travel signals must not run without them.
 */
export async function openLocator(path: string): Promise<Locator> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw unusable(path, 'cannot be read', cause);
  });
  let reader: Reader<CityResponse>;
  try {
    reader = new Reader<CityResponse>(bytes);
  } catch (cause) {
    throw unusable(path, 'is not a MaxMind database', cause);
  }
  const type = reader.metadata.databaseType;
  if (!/City|Enterprise|Insights/.test(type)) throw unusable(path, `is a ${type} database; a city database is needed`);
  return { locate: (ipAddress) => locationOf(lookUp(reader, ipAddress)) };
}

/** A damaged record is an unknown place, not a failed call. */
function lookUp(reader: Reader<CityResponse>, ipAddress: string): CityResponse | null {
  try {
    return reader.get(ipAddress);
  } catch {
    return null;
  }
}

function locationOf(found: CityResponse | null): Location | undefined {
  const location = found?.location;
  if (!Number.isFinite(location?.latitude) || !Number.isFinite(location?.longitude)) return undefined;
  return {
    countryCode: found?.country?.iso_code ?? '',
    city: found?.city?.names.en ?? '',
    latitude: coarse(location?.latitude ?? 0),
    longitude: coarse(location?.longitude ?? 0),
  };
}

/** One decimal is about 11 km: enough to tell a journey, too little to find a home. */
function coarse(degrees: number): number {
  return Math.round(degrees * 10) / 10;
}

function unusable(path: string, problem: string, cause?: unknown): Fault {
  return new Fault('invalid', 'FIELD_INVALID', `location database ${path}: ${problem}`, { cause });
}
