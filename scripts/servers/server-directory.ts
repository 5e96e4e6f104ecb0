import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Identity } from './server-process.ts';

/** Where one server keeps its files: its owner's alone (mode 0700). */
export interface ServerDirectory {
  readonly path: string;
  /** The same when it goes away with the server; undefined for a folder that somebody gave us. */
  readonly temporary: string | undefined;
}

/** A new temporary folder, short enough for the path of a Unix socket. */
export function temporaryDirectory(name: string, owner?: Identity): ServerDirectory {
  const path = mkdtempSync(join(tmpdir(), `sallyport-${name}-`));
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  return { path, temporary: path };
}

export function removeIfTemporary(directory: ServerDirectory): void {
  if (directory.temporary !== undefined) rmSync(directory.temporary, { recursive: true, force: true });
}
