import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '#src/adapters/system.ts';
import { totpKeyUri } from '#src/domain/totp.ts';
import { QrRenderer } from '#src/transport/qr.ts';
import { ManualClock } from '../support/clock.ts';
import {
  modulesOfSvg,
  modulesOfTerminal,
  pictureOf,
  readQr,
  TERMINAL_LINE_END,
  TERMINAL_LINE_START,
} from '../support/qr-reader.ts';

const URI = totpKeyUri({
  issuer: 'Acme & Söhne',
  accountName: 'ada.lovelace@example.com',
  secret: new Uint8Array(20).map((_, index) => index * 11),
});

const open: QrRenderer[] = [];
function renderer(options: Partial<ConstructorParameters<typeof QrRenderer>[0]> = {}): QrRenderer {
  const made = new QrRenderer({ clock: systemClock, timeoutMs: 15_000, ...options });
  open.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((made) => made.close()));
});

describe('QR codes', () => {
  it('read back as the same URI from PNG, SVG and terminal text', async () => {
    const { png, svg = '', terminal = '' } = await renderer().render(URI, ['png', 'svg', 'terminal']);
    expect(readQr(png ?? new Uint8Array(), 'png')).toBe(URI);
    expect(readQr(pictureOf(modulesOfSvg(svg)), 'pbm')).toBe(URI);
    expect(readQr(pictureOf(modulesOfTerminal(terminal)), 'pbm')).toBe(URI);
  });

  it('fit into a terminal, with their colours set on every line and reset after it', async () => {
    const { terminal = '' } = await renderer().render(URI, ['terminal']);
    const lines = terminal.split('\n');
    expect(lines.pop()).toBe('');
    expect(lines.length).toBeLessThanOrEqual(26);
    for (const line of lines) {
      expect([line.startsWith(TERMINAL_LINE_START), line.endsWith(TERMINAL_LINE_END)]).toEqual([true, true]);
      expect(line.slice(TERMINAL_LINE_START.length, -TERMINAL_LINE_END.length)).toMatch(/^[ ▀▄█]{40,60}$/);
    }
  });

  it('are drawn only in the formats asked for, and no thread is started for none', async () => {
    const made = renderer();
    expect(await made.render(URI, [])).toEqual({});
    expect(Object.keys(await made.render(URI, ['svg']))).toEqual(['svg']);
  });

  it('are drawn side by side without being mixed up', async () => {
    const made = renderer();
    const texts = Array.from({ length: 12 }, (_, index) => `${URI}${index}`);
    const drawn = await Promise.all(texts.map((text) => made.render(text, ['terminal'])));
    const read = drawn.map(({ terminal = '' }) => readQr(pictureOf(modulesOfTerminal(terminal)), 'pbm'));
    expect(read).toEqual(texts);
  });

  it('are refused when too many wait, and go on afterwards', async () => {
    const made = renderer({ maxWaiting: 2 });
    const results = await Promise.allSettled([1, 2, 3, 4].map(() => made.render(URI, ['svg'])));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected']);
    expect(results[3]).toMatchObject({ reason: { kind: 'limited', reason: 'LIMIT_EXCEEDED' } });
    expect((await made.render(URI, ['svg'])).svg).toMatch(/^<svg/);
  });

  it('are refused for a text that is too long, without quoting it', async () => {
    const text = 'secret '.repeat(1_000);
    const refusal = await renderer()
      .render(text, ['png'])
      .catch((error: unknown) => error);
    expect(refusal).toMatchObject({ kind: 'unavailable' });
    expect(JSON.stringify(refusal) + String(refusal)).not.toContain('secret ');
  });

  it('are given up after the time limit, and the next one gets a new thread', async () => {
    const clock = new ManualClock();
    const made = renderer({ clock, timeoutMs: 1_000 });
    const late = made.render(URI, ['png']);
    clock.advance(1_000);
    await expect(late).rejects.toMatchObject({ kind: 'unavailable', message: expect.stringContaining('too long') });
    expect((await made.render(URI, ['svg'])).svg).toMatch(/^<svg/);
  });

  it('leave no thread and no timer behind when idle or closed', async () => {
    const clock = new ManualClock();
    const made = renderer({ clock, idleMs: 30_000 });
    await made.render(URI, ['svg']);
    expect(clock.pending).toBe(1);
    clock.advance(30_000);
    expect(clock.pending).toBe(0);
    await made.render(URI, ['svg']);
    const waiting = made.render(URI, ['svg']);
    const refused = expect(waiting).rejects.toMatchObject({ kind: 'unavailable' });
    await made.close();
    await refused;
    expect(clock.pending).toBe(0);
  });
});
