import type { Random } from '#src/ports/runtime.ts';
import { readOrCreateSecretFile, readSecretFile, SecretFileError, type SecretFileOptions } from './secret-file.ts';

const TOKEN_BYTES = 32;
/** Shorter ones could be guessed. */
const MIN_LENGTH = 32;

/** Reads the operator token. Throws SecretFileError if it is missing, open to others, or not a usable token. */
export async function loadOperatorToken(path: string, options: SecretFileOptions = {}): Promise<string> {
  return tokenOf(path, await readSecretFile(path, options));
}

/** Reads the token, or makes the file with mode 0600 and 256 random bits if there is none. */
export async function loadOrCreateOperatorToken(
  path: string,
  random: Random,
  options: SecretFileOptions = {},
): Promise<{ readonly token: string; readonly created: boolean }> {
  const make = () => `spo_${Buffer.from(random.bytes(TOKEN_BYTES)).toString('base64url')}\n`;
  const { text, created } = await readOrCreateSecretFile(path, make, random, options);
  return { token: tokenOf(path, text), created };
}

function tokenOf(path: string, text: string): string {
  const token = text.trim();
  if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(token) || token.length < MIN_LENGTH) {
    throw new SecretFileError(`${path} does not hold a token: one line of at least ${MIN_LENGTH} characters is needed`);
  }
  return token;
}
