import { constants } from 'node:fs';
import { type FileHandle, link, open, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Random } from '#src/ports/runtime.ts';
import { createKeyRing, formatKeyRing, type KeyRingData, KeyRingError, parseKeyRing } from './key-ring.ts';

const MAX_FILE_BYTES = 64 * 1024;

export interface KeyRingFileOptions {
  /** Accepts a file that its group may read (mode 0440 or 0640), as a Secret mounted with `fsGroup` is. */
  readonly groupMayRead?: boolean;
}

/** Reads a key ring file. Throws KeyRingError if it is missing, open to others, or malformed. */
export async function loadKeyRing(path: string, options: KeyRingFileOptions = {}): Promise<KeyRingData> {
  const file = await openToRead(path);
  try {
    // The open file is asked, not the path, so nobody can swap it in between.
    const { mode, size } = await file.stat();
    const refused = mode & (options.groupMayRead ? 0o037 : 0o077);
    if (refused !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0');
      throw new KeyRingError(`key ring: ${path} has mode ${shown}, so others can reach it; run: chmod 600 ${path}`);
    }
    if (size > MAX_FILE_BYTES) throw new KeyRingError(`key ring: ${path} is larger than ${MAX_FILE_BYTES} bytes`);
    return parseKeyRing(await file.readFile('utf8'));
  } catch (error) {
    if (error instanceof KeyRingError) throw error;
    throw new KeyRingError(`key ring: cannot read ${path}: ${codeOf(error)}`);
  } finally {
    await file.close();
  }
}

/**
 * Loads the ring, or makes the file with mode 0600 if there is none. The file appears whole or not at all, and of two
 * processes that start at once both get the same ring.
 */
export async function loadOrCreateKeyRing(
  path: string,
  random: Random,
  options: KeyRingFileOptions = {},
): Promise<{ readonly ring: KeyRingData; readonly created: boolean }> {
  const found = await open(path, constants.O_RDONLY).then(
    (file) => file.close().then(() => true),
    (error: unknown) => codeOf(error) !== 'ENOENT',
  );
  const created = found ? false : await createFile(path, formatKeyRing(createKeyRing(random)), random);
  return { ring: await loadKeyRing(path, options), created };
}

/** False if somebody else made the file first. */
async function createFile(path: string, text: string, random: Random): Promise<boolean> {
  const temporary = `${path}.${Buffer.from(random.bytes(8)).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link, unlike a rename, never takes the place of a ring that is there already.
    await link(temporary, path);
    await syncFolder(dirname(join(path)));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new KeyRingError(`key ring: cannot create ${path}: ${codeOf(error)}`);
  } finally {
    await unlink(temporary).catch(() => {});
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY);
  } catch (error) {
    const hint = codeOf(error) === 'ENOENT' ? 'there is no such file; name an existing key ring file' : codeOf(error);
    throw new KeyRingError(`key ring: cannot open ${path}: ${hint}`);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown error';
}
