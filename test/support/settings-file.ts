import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A file with this content, gone after the test. Answers its path. */
export function temporaryFile(content: string, name = 'sallyport.yaml'): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-settings-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
