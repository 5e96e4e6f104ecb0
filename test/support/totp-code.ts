import { execFileSync } from 'node:child_process';

/** The code of an independent generator (oathtool) for a base32 secret, `steps` periods of 30 s from `atMs` on. */
export function oathtoolCode(base32Secret: string, steps = 0, atMs = Date.now()): string {
  const seconds = Math.floor(atMs / 1000) + steps * 30;
  const secret = base32Secret.replaceAll(' ', '');
  return execFileSync('oathtool', ['--totp=SHA1', '-b', '-d', '6', '-N', `@${seconds}`, secret], {
    encoding: 'utf8',
  }).trim();
}

/** The bytes of a base32 secret (RFC 4648 section 6). */
export function seedOf(text: string): Buffer {
  let bits = '';
  for (const letter of text) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}
