import { parentPort } from 'node:worker_threads';
import { create, toBuffer, toString as toText } from 'qrcode';
import type { QrJob, QrReply } from './qr.ts';

/**
 * Draws QR codes in a thread of its own: a PNG takes milliseconds of pure computation. The text is a secret; it is
 * neither kept nor logged here.
 */
parentPort?.on('message', async (job: QrJob) => {
  parentPort?.postMessage(await draw(job));
});

async function draw({ id, text, formats }: QrJob): Promise<QrReply> {
  try {
    return {
      id,
      images: {
        ...(formats.includes('png')
          ? { png: new Uint8Array(await toBuffer(text, { type: 'png', scale: 6, ...IMAGE })) }
          : {}),
        ...(formats.includes('svg') ? { svg: await toText(text, { type: 'svg', ...IMAGE }) } : {}),
        ...(formats.includes('terminal') ? { terminal: drawForTerminal(text) } : {}),
      },
    };
  } catch (error) {
    // The message may quote the text.
    return { id, error: error instanceof Error ? error.name : 'unknown error' };
  }
}

/** ISO/IEC 18004 asks for a quiet zone of four modules. */
const IMAGE = { errorCorrectionLevel: 'M', margin: 4 } as const;

/** Readers manage with less on a screen, and a terminal has few lines. */
const QUIET = 2;
const BLACK_ON_WHITE = '\u001b[30;107m';
const RESET = '\u001b[0m';

/** Two modules a character, upper and lower half; the colours are set, since readers want dark on light. */
function drawForTerminal(text: string): string {
  const { size, data } = create(text, { errorCorrectionLevel: 'L' }).modules;
  const isDark = (row: number, column: number) =>
    row >= 0 && row < size && column >= 0 && column < size && data[row * size + column] === 1;
  const lines: string[] = [];
  for (let row = -QUIET; row < size + QUIET; row += 2) {
    let line = '';
    for (let column = -QUIET; column < size + QUIET; column += 1) {
      line += HALVES[isDark(row, column) ? 1 : 0][isDark(row + 1, column) ? 1 : 0];
    }
    lines.push(`${BLACK_ON_WHITE}${line}${RESET}`);
  }
  return `${lines.join('\n')}\n`;
}

const HALVES = [
  [' ', '▄'],
  ['▀', '█'],
] as const;
