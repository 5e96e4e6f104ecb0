import type { Random } from '#src/ports/runtime.ts';
import { createKeyRing, formatKeyRing, type KeyRingData, KeyRingError, parseKeyRing } from './key-ring.ts';
import { readOrCreateSecretFile, readSecretFile, SecretFileError, type SecretFileOptions } from './secret-file.ts';

/** Reads a key ring file. Throws KeyRingError if it is missing, open to others, or malformed. */
export async function loadKeyRing(path: string, options: SecretFileOptions = {}): Promise<KeyRingData> {
  return parseKeyRing(await readSecretFile(path, options).catch(asKeyRingError));
}

/** Loads the ring, or makes the file with mode 0600 if there is none. Two processes that start at once get the same ring. */
export async function loadOrCreateKeyRing(
  path: string,
  random: Random,
  options: SecretFileOptions = {},
): Promise<{ readonly ring: KeyRingData; readonly created: boolean }> {
  const make = () => formatKeyRing(createKeyRing(random));
  const { text, created } = await readOrCreateSecretFile(path, make, random, options).catch(asKeyRingError);
  return { ring: parseKeyRing(text), created };
}

function asKeyRingError(error: unknown): never {
  throw error instanceof SecretFileError ? new KeyRingError(`key ring: ${error.message}`) : error;
}
