import { existsSync, renameSync } from 'node:fs';

/** Moves a damaged file and what belongs to it out of the way, under one name, and never deletes anything. Answers that name. */
export function setAside(path: string, at: number): string {
  const stamp = new Date(at).toISOString().replaceAll(/[-:.]/g, '');
  let name = `${path}.damaged-${stamp}`;
  for (let again = 2; existsSync(name); again += 1) name = `${path}.damaged-${stamp}-${again}`;
  // SQLite finds a write-ahead log by the name of its database, so evidence stays readable as it was.
  for (const suffix of ['-wal', '-shm', '']) if (existsSync(path + suffix)) renameSync(path + suffix, name + suffix);
  return name;
}
