import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What an independent reader (zbarimg) sees in an image; it throws if there is no code. */
export function readQr(image: Uint8Array, extension: 'png' | 'pbm'): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-qr-'));
  try {
    const path = join(folder, `code.${extension}`);
    writeFileSync(path, image);
    return execFileSync('zbarimg', ['-q', '--raw', path], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Rows of modules, true being dark, as a picture with four pixels a module. */
export function pictureOf(rows: readonly (readonly boolean[])[]): Uint8Array {
  const scale = 4;
  const lines = rows.flatMap((row) => {
    const line = row.map((dark) => (dark ? '1 ' : '0 ').repeat(scale)).join('');
    return Array.from({ length: scale }, () => line);
  });
  const width = (rows[0]?.length ?? 0) * scale;
  return Buffer.from(`P1\n${width} ${rows.length * scale}\n${lines.join('\n')}\n`);
}

export const TERMINAL_LINE_START = '\u001b[30;107m';
export const TERMINAL_LINE_END = '\u001b[0m';

/** The modules in a terminal drawing: each character is an upper and a lower half, dark where it is inked. */
export function modulesOfTerminal(text: string): readonly (readonly boolean[])[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replace(TERMINAL_LINE_START, '').replace(TERMINAL_LINE_END, ''))
    .flatMap((line) => [
      [...line].map((half) => half === '▀' || half === '█'),
      [...line].map((half) => half === '▄' || half === '█'),
    ]);
}

/** The modules in an SVG of the form that the renderer makes: one path of strokes one module high. */
export function modulesOfSvg(svg: string): readonly (readonly boolean[])[] {
  const size = Number(/viewBox="0 0 (\d+) \1"/.exec(svg)?.[1]);
  const path = /<path stroke="#000000" d="([^"]+)"/.exec(svg)?.[1] ?? '';
  const rows = Array.from({ length: size }, () => Array.from({ length: size }, () => false));
  let [x, y] = [0, 0];
  for (const [, command, numbers = ''] of path.matchAll(/([Mmh])([-0-9. ]+)/g)) {
    const [first = 0, second = 0] = numbers.trim().split(/ +/).map(Number);
    if (command === 'M') [x, y] = [first, Math.floor(second)];
    else if (command === 'm') [x, y] = [x + first, y + second];
    else {
      rows[y]?.fill(true, x, x + first);
      x += first;
    }
  }
  return rows;
}
