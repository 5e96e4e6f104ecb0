import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKeyRing, formatKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { loadKeyRing, loadOrCreateKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { systemRandom } from '#src/adapters/system.ts';

let folder = '';
const path = () => join(folder, 'keys.json');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-keys-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a key ring file', () => {
  it('is made with mode 0600 on first start and kept afterwards', async () => {
    const first = await loadOrCreateKeyRing(path(), systemRandom);
    const second = await loadOrCreateKeyRing(path(), systemRandom);
    expect(first.created).toBe(true);
    expect(second.created).toBe(false);
    expect(second.ring).toEqual(first.ring);
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['keys.json']);
  });

  it('is the same for all of many processes that start at once, and made by one', async () => {
    const loaded = await Promise.all(Array.from({ length: 20 }, () => loadOrCreateKeyRing(path(), systemRandom)));
    expect(new Set(loaded.map(({ ring }) => formatKeyRing(ring))).size).toBe(1);
    expect(loaded.filter(({ created }) => created)).toHaveLength(1);
    expect(await readdir(folder)).toEqual(['keys.json']);
  });

  it.each([0o640, 0o604, 0o660, 0o666, 0o644, 0o620])('is refused with mode %o', async (mode) => {
    await writeFile(path(), formatKeyRing(createKeyRing(systemRandom)));
    await chmod(path(), mode);
    await expect(loadKeyRing(path())).rejects.toThrow(/chmod 600/);
    await expect(loadOrCreateKeyRing(path(), systemRandom)).rejects.toThrow(/chmod 600/);
  });

  it('may be readable by its group when that is asked for, and nothing more', async () => {
    await writeFile(path(), formatKeyRing(createKeyRing(systemRandom)));
    await chmod(path(), 0o440);
    expect((await loadKeyRing(path(), { groupMayRead: true })).active).toBe(1);
    await chmod(path(), 0o460);
    await expect(loadKeyRing(path(), { groupMayRead: true })).rejects.toThrow(/others can reach it/);
    await chmod(path(), 0o444);
    await expect(loadKeyRing(path(), { groupMayRead: true })).rejects.toThrow(/others can reach it/);
  });

  it('is never made anew in place of a broken one', async () => {
    await writeFile(path(), '{"active":', { mode: 0o600 });
    await expect(loadOrCreateKeyRing(path(), systemRandom)).rejects.toThrow(/not JSON/);
    expect((await stat(path())).size).toBe(10);
  });

  it('is missed by name when it is not there', async () => {
    await expect(loadKeyRing(path())).rejects.toThrow(/there is no such file/);
    await expect(loadOrCreateKeyRing(join(folder, 'none', 'keys.json'), systemRandom)).rejects.toThrow(/cannot create/);
  });
});
