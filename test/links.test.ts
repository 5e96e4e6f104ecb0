import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const projectRoot = fileURLToPath(new URL('..', import.meta.url));

function pagesIn(folder: string, deep: boolean): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return deep ? pagesIn(path, deep) : [];
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

const pages = [
  ...pagesIn(projectRoot, false),
  ...['docs', 'bench', 'deploy', 'proto'].flatMap((name) => pagesIn(join(projectRoot, name), true)),
];

/** Without code, where brackets and `#` mean something else. */
const proseOf = (path: string) =>
  readFileSync(path, 'utf8')
    .replaceAll(/^```[\s\S]*?^```$/gm, '')
    .replaceAll(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ''));

/** As sites make them of headings: lower case, spaces to hyphens, of the rest only letters, digits, hyphens and `_`. */
const anchorsOf = (path: string) =>
  [...proseOf(path).matchAll(/^#+ +(.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );

function brokenLinks(page: string): readonly string[] {
  const targets = [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      if (!existsSync(file)) return true;
      return anchor !== undefined && file.endsWith('.md') && !anchorsOf(file).includes(anchor);
    });
}

describe('links between pages', () => {
  it('are looked for in all of them', () => {
    expect(pages.map((page) => relative(projectRoot, page))).toEqual(
      expect.arrayContaining(['README.md', 'CONTRIBUTING.md', 'docs/shared-state.md', 'docs/security/EVENTS.md']),
    );
  });

  it.each(pages.map((page) => relative(projectRoot, page)))(
    'lead to a file and a heading that are there: %s',
    (page) => {
      expect(brokenLinks(join(projectRoot, page))).toEqual([]);
    },
  );

  it('would be found broken', () => {
    expect(brokenLinks(join(projectRoot, 'test/fixtures/broken-links.md'))).toEqual(['nowhere.md', '#nothing']);
  });
});
