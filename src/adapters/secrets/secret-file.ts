import { constants } from 'node:fs';
import { type FileHandle, link, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Random } from '#src/ports/runtime.ts';

const MAX_FILE_BYTES = 64 * 1024;

export interface SecretFileOptions {
  /** Accepts a file that its group may read (mode 0440 or 0640), as a Secret mounted with `fsGroup` is. */
  readonly groupMayRead?: boolean;
}

/** A file with a secret that cannot be used. The message says what is wrong and what to do, never what is inside. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError';
}

/** The text of a file that nobody else may reach. Throws SecretFileError if it is missing, open to others, or too large. */
export async function readSecretFile(path: string, options: SecretFileOptions = {}): Promise<string> {
  const file = await openToRead(path);
  try {
    // The open file is asked, not the path, so nobody can swap it in between.
    const { mode, size } = await file.stat();
    const refused = mode & (options.groupMayRead ? 0o037 : 0o077);
    if (refused !== 0) {
      const shown = (mode & 0o777).toString(8).padStart(4, '0');
      throw new SecretFileError(`${path} has mode ${shown}, so others can reach it; run: chmod 600 ${path}`);
    }
    if (size > MAX_FILE_BYTES) throw new SecretFileError(`${path} is larger than ${MAX_FILE_BYTES} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof SecretFileError) throw error;
    throw new SecretFileError(`cannot read ${path}: ${codeOf(error)}`);
  } finally {
    await file.close();
  }
}

/**
 * Reads the file, or makes it with mode 0600 if there is none. It appears whole or not at all, and of two processes that
 * start at once both read the same.
 */
export async function readOrCreateSecretFile(
  path: string,
  make: () => string,
  random: Random,
  options: SecretFileOptions = {},
): Promise<{ readonly text: string; readonly created: boolean }> {
  const found = await open(path, constants.O_RDONLY).then(
    (file) => file.close().then(() => true),
    (error: unknown) => codeOf(error) !== 'ENOENT',
  );
  const created = found ? false : await createFile(path, make(), random);
  return { text: await readSecretFile(path, options), created };
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
    // A link, unlike a rename, never takes the place of a file that is there already.
    await link(temporary, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new SecretFileError(`cannot create ${path}: ${codeOf(error)}`);
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
    const hint = codeOf(error) === 'ENOENT' ? 'there is no such file; name an existing one' : codeOf(error);
    throw new SecretFileError(`cannot open ${path}: ${hint}`);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown error';
}
