import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LocalStorage, type LocalStorageOptions, openLocalStorage } from '#src/adapters/local/client.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { SeededRandom } from './random.ts';
import type { StoreFixture } from './store-fixture.ts';

export const TEST_RING = createKeyRing(new SeededRandom('key ring'));

export const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A data directory of its own, gone with `using`. */
export function newDirectory(): { readonly path: string } & Disposable {
  const path = join(mkdtempSync(join(tmpdir(), 'sallyport-')), 'data');
  return { path, [Symbol.dispose]: () => rmSync(join(path, '..'), { recursive: true, force: true }) };
}

/** Local storage with what tests do not care about filled in. */
export function openTestStorage(directory: string, options: Partial<LocalStorageOptions> = {}): Promise<LocalStorage> {
  const onFatal = (error: Error) => {
    throw error;
  };
  return openLocalStorage({ directory, keyRing: TEST_RING, maxAuditBytes: 1 << 28, log: SILENT, onFatal, ...options });
}

/** All stores on SQLite, through the worker thread and its client. */
export async function makeLocalStores(): Promise<StoreFixture> {
  const directory = newDirectory();
  const open = async (): Promise<StoreFixture> => {
    const storage = await openTestStorage(directory.path, { notices: true });
    return {
      ...storage,
      restart: async () => {
        await storage[Symbol.asyncDispose]();
        return await open();
      },
      close: async () => {
        await storage[Symbol.asyncDispose]();
        directory[Symbol.dispose]();
      },
    };
  };
  return await open();
}
