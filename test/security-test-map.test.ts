import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(projectRoot, 'docs/security/TEST_MAP.md'), 'utf8');

interface Entry {
  readonly id: string;
  readonly file: string;
  readonly title: string;
}

/** The rows of the tables: `| id | what | file: title <br> file: title |`. */
function entries(): readonly Entry[] {
  return page.split('\n').flatMap((line) => {
    const [, id, held] = /^\| ([A-Z]+-?\d+) \| .*? \| (.*) \|$/.exec(line) ?? [];
    if (id === undefined || held === undefined) return [];
    return held.split('<br>').map((test) => {
      const [, file = '', title = ''] = /^`([^`]+)`: (.+)$/.exec(test) ?? [];
      return { id, file, title };
    });
  });
}

/** Titles as they stand in the sources: quoted in one way or another. */
function hasTest(source: string, title: string): boolean {
  return ["'", '"', '`'].some(
    (quote) =>
      source.includes(`${quote}${title}${quote}`) || source.includes(`${quote}${title.replaceAll("'", "\\'")}${quote}`),
  );
}

describe('the map of security tests', () => {
  it('names a file and a title in every row', () => {
    const all = entries();
    expect(new Set(all.map(({ id }) => id)).size).toBeGreaterThan(105);
    expect(all.filter(({ file, title }) => file === '' || title === '')).toEqual([]);
  });

  it('has one row for each requirement, attack and fault, and names no test twice in it', () => {
    const ids = page.split('\n').flatMap((line) => /^\| ([A-Z]+-?\d+) \|/.exec(line)?.[1] ?? []);
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([]);
    const tests = entries().map(({ id, file, title }) => `${id}: ${file}: ${title}`);
    expect(tests.filter((test, index) => tests.indexOf(test) !== index)).toEqual([]);
  });

  it('names tests that exist', () => {
    const missing = entries().filter(({ file, title }) => {
      const path = join(projectRoot, file);
      return !existsSync(path) || !hasTest(readFileSync(path, 'utf8'), title);
    });
    expect(missing.map(({ id, file, title }) => `${id}: ${file}: ${title}`)).toEqual([]);
  });
});
