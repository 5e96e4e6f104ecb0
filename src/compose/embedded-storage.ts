import { openLocalStorage } from '#src/adapters/local/client.ts';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { NO_DEPENDENCIES } from '#src/ports/dependencies.ts';
import type { Storage, StorageDependencies } from './storage.ts';

/** Everything on SQLite, in the data directory of this sidecar. */
export async function openEmbeddedStorage(deps: StorageDependencies): Promise<Storage> {
  const { config, log } = deps;
  const local = await openLocalStorage({
    directory: config.data_dir,
    keyRing: deps.ring,
    maxAuditBytes: config.audit.max_bytes,
    checkpointMs: config.audit.checkpoint_interval,
    notices: config.notices.channel !== 'off',
    log,
    onFatal: deps.onFatal,
  });
  return {
    stores: local,
    audit: local.audit,
    onDurable: local.audit.onAppend,
    signals: new MemorySignals({ log }),
    dependencies: NO_DEPENDENCIES,
    gauges: [],
    [Symbol.asyncDispose]: () => local[Symbol.asyncDispose](),
  };
}
