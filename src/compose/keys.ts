import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type KeyRingData, KeyRingError } from '#src/adapters/secrets/key-ring.ts';
import { loadKeyRing, loadOrCreateKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { loadOperatorToken, loadOrCreateOperatorToken } from '#src/adapters/secrets/operator-token-file.ts';
import type { Config } from '#src/config/schema.ts';
import type { Random } from '#src/ports/runtime.ts';

export interface Keys {
  readonly ring: KeyRingData;
  readonly operatorToken: string;
  /** What was made on this start. */
  readonly notices: readonly string[];
}

/**
 * The key ring and the operator token. Named files must be there. Where none is named, development makes them in the data
 * directory; that production names them is a rule of the settings.
 */
export async function loadKeys(config: Config, random: Random): Promise<Keys> {
  const notices: string[] = [];
  // Secrets that Kubernetes mounts for a group are readable by that group.
  const mounted = { groupMayRead: config.environment === 'production' };
  let ring: KeyRingData;
  if (config.keys.file !== '') ring = await loadKeyRing(config.keys.file, mounted);
  else {
    const path = join(config.data_dir, 'keys.json');
    if (!existsSync(path) && existsSync(join(config.data_dir, 'state.db'))) throw lost(path, config.data_dir);
    const made = await loadOrCreateKeyRing(path, random);
    ring = made.ring;
    if (made.created) notices.push(`made the key ring ${path} (mode 0600): back it up, apart from the data`);
  }
  if (config.operator.token_file !== '') {
    return { ring, operatorToken: await loadOperatorToken(config.operator.token_file, mounted), notices };
  }
  const path = join(config.data_dir, 'operator.token');
  const { token, created } = await loadOrCreateOperatorToken(path, random);
  if (created) notices.push(`made the operator token ${path} (mode 0600)`);
  return { ring, operatorToken: token, notices };
}

/** A new ring would open nothing of what is there, and look as if it were the one to keep. */
function lost(path: string, dataDir: string): KeyRingError {
  return new KeyRingError(
    `key ring: ${path} is gone, and ${dataDir} holds what it sealed: put it back from its backup, or start with an empty data directory`,
  );
}
