// Bundles src/public, the pages that browsers of end users load, into src/gen/public/assets.js, so that the bundle carries
// them and no file is read at start. A page that holds script or style inline, or loads from elsewhere, is refused: the
// content security policy would block it.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = new URL('../src/public/', import.meta.url);
const target = new URL('../src/gen/public/', import.meta.url);

const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const ASSETS = [
  { path: '/push/enroll', file: 'enroll.html', contentType: HTML },
  { path: '/push/approve', file: 'approve.html', contentType: HTML },
  { path: '/not-me', file: 'not-me.html', contentType: HTML },
  { path: '/assets/enroll.js', file: 'enroll.ts', contentType: SCRIPT },
  { path: '/assets/approve.js', file: 'approve.ts', contentType: SCRIPT },
  { path: '/assets/not-me.js', file: 'not-me.ts', contentType: SCRIPT },
  // Where it lies decides which pages it serves.
  { path: '/push/sw.js', file: 'worker/sw.ts', contentType: SCRIPT, headers: { 'service-worker-allowed': '/push/' } },
  { path: '/assets/style.css', file: 'style.css', contentType: 'text/css; charset=utf-8' },
  { path: '/assets/icon.svg', file: 'icon.svg', contentType: 'image/svg+xml' },
  { path: '/assets/icon.png', file: 'icon.png', contentType: 'image/png' },
  { path: '/assets/app.webmanifest', file: 'app.webmanifest', contentType: 'application/manifest+json' },
];

/** What the content security policy would block in a page; empty when nothing is. */
export function problemsOf(file, html) {
  const problems = [];
  const note = (problem) => problems.push(`${file}: ${problem}`);
  if (/<script(?![^>]*\ssrc="\/assets\/[a-z-]+\.js")/i.test(html)) note('a script that is not one of /assets');
  if (/<style\b/i.test(html) || /\sstyle=/i.test(html)) note('style that is not in the style sheet');
  if (/\son[a-z]+=/i.test(html)) note('a handler in an attribute');
  if (/\s(?:src|href|action)="(?!\/|#)/i.test(html)) note('something that is loaded from elsewhere');
  if (!/<html lang="/.test(html)) note('does not say its language');
  return problems;
}

async function contentOf(file) {
  const url = new URL(file, source);
  if (file.endsWith('.png')) return { encoding: 'base64', content: readFileSync(url).toString('base64') };
  if (!file.endsWith('.ts') && !file.endsWith('.css')) {
    const content = readFileSync(url, 'utf8').replaceAll('\r\n', '\n');
    const problems = file.endsWith('.html') ? problemsOf(file, content) : [];
    if (problems.length > 0) throw new Error(problems.join('\n'));
    return { encoding: 'utf8', content };
  }
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(url)],
    bundle: true,
    write: false,
    minify: true,
    // Not every browser takes service workers that are modules.
    format: file.startsWith('worker/') ? 'iife' : 'esm',
    target: ['chrome109', 'firefox115', 'safari16.4'],
    charset: 'utf8',
    logLevel: 'warning',
  });
  return { encoding: 'utf8', content: outputFiles[0].text };
}

export async function compileAssets() {
  const assets = await Promise.all(
    ASSETS.map(async ({ file, ...asset }) => {
      const { encoding, content } = await contentOf(file);
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
      return { ...asset, encoding, content, etag };
    }),
  );
  const head = '// Made by scripts/public-assets.mjs from src/public. Do not edit.\n';
  const types = `export interface PublicAsset {
  readonly path: string;
  readonly contentType: string;
  readonly encoding: 'utf8' | 'base64';
  readonly content: string;
  readonly etag: string;
  readonly headers?: Readonly<Record<string, string>>;
}
export declare const publicAssets: readonly PublicAsset[];
`;
  mkdirSync(target, { recursive: true });
  writeFileSync(
    new URL('assets.js', target),
    `${head}export const publicAssets = ${JSON.stringify(assets, undefined, 2)};\n`,
  );
  writeFileSync(new URL('assets.d.ts', target), `${head}${types}`);
}
