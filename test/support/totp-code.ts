import { execFileSync } from 'node:child_process';

/** The code of an independent generator (oathtool) for a base32 secret, `steps` periods of 30 s from `atMs` on. */
export function oathtoolCode(base32Secret: string, steps = 0, atMs = Date.now()): string {
  const seconds = Math.floor(atMs / 1000) + steps * 30;
  const secret = base32Secret.replaceAll(' ', '');
  return execFileSync('oathtool', ['--totp=SHA1', '-b', '-d', '6', '-N', `@${seconds}`, secret], {
    encoding: 'utf8',
  }).trim();
}
