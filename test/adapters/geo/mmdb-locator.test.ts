import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { openLocator } from '#src/adapters/geo/mmdb-locator.ts';
import { NO_LOCATOR } from '#src/adapters/geo/no-locator.ts';

const FILE = fileURLToPath(new URL('../../fixtures/geolite2-city-test.mmdb', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-geo-'));
});

describe('the MaxMind locator', () => {
  it('finds cities for both kinds of address, rounded to one decimal', async () => {
    const locator = await openLocator(FILE);
    expect(locator.locate('81.2.69.142')).toEqual({
      countryCode: 'GB',
      city: 'London',
      latitude: 51.5,
      longitude: -0.1,
    });
    expect(locator.locate('2001:218::1')).toEqual({ countryCode: 'JP', city: '', latitude: 35.7, longitude: 139.8 });
  });

  it('answers nothing for addresses outside the database and for what is no address', async () => {
    const locator = await openLocator(FILE);
    for (const text of ['127.0.0.1', '', 'here', '999.1.1.1', '::zz']) expect(locator.locate(text)).toBeUndefined();
    expect(NO_LOCATOR.locate('81.2.69.142')).toBeUndefined();
  });

  it('refuses a missing file, naming it', async () => {
    const missing = join(folder, 'missing.mmdb');
    await expect(openLocator(missing)).rejects.toMatchObject({
      kind: 'invalid',
      message: `location database ${missing}: cannot be read`,
    });
  });

  it('refuses a file that is no database, and one cut in half', async () => {
    const text = join(folder, 'text.mmdb');
    await writeFile(text, 'not a database');
    await expect(openLocator(text)).rejects.toThrow(/is not a MaxMind database/);
    const half = join(folder, 'half.mmdb');
    const bytes = await readFile(FILE);
    await writeFile(half, bytes.subarray(0, bytes.length / 2));
    await expect(openLocator(half)).rejects.toThrow(/is not a MaxMind database/);
  });

  it('refuses a database of another kind', async () => {
    const other = join(folder, 'country.mmdb');
    const bytes = await readFile(FILE);
    await writeFile(
      other,
      Buffer.from(bytes.toString('latin1').replaceAll('GeoLite2-City', 'GeoLite2-Asnx'), 'latin1'),
    );
    await expect(openLocator(other)).rejects.toThrow(/is a GeoLite2-Asnx database/);
  });
});
