import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadOperatorToken, loadOrCreateOperatorToken } from '#src/adapters/secrets/operator-token-file.ts';
import { systemRandom } from '#src/adapters/system.ts';

let folder = '';
const path = () => join(folder, 'operator.token');
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-token-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('an operator token file', () => {
  it('is made with mode 0600 and 256 bits on first start, and kept afterwards', async () => {
    const first = await loadOrCreateOperatorToken(path(), systemRandom);
    expect(first.created).toBe(true);
    expect(first.token).toMatch(/^spo_[\w-]{43}$/);
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    expect(await loadOrCreateOperatorToken(path(), systemRandom)).toEqual({ token: first.token, created: false });
  });

  it('is refused when others may read it', async () => {
    await loadOrCreateOperatorToken(path(), systemRandom);
    await chmod(path(), 0o644);
    await expect(loadOperatorToken(path())).rejects.toThrow(/chmod 600/);
  });

  it('is refused when it is larger than any secret', async () => {
    await writeFile(path(), 'a'.repeat(64 * 1024 + 1), { mode: 0o600 });
    await expect(loadOperatorToken(path())).rejects.toThrow(/larger than 65536 bytes/);
    await writeFile(path(), 'a'.repeat(64 * 1024), { mode: 0o600 });
    expect(await loadOperatorToken(path())).toHaveLength(64 * 1024);
  });

  it.each(['', 'short', `${'a'.repeat(20)} ${'b'.repeat(20)}`, `${'a'.repeat(40)},${'b'.repeat(40)}`])(
    'is refused when it holds %j',
    async (text) => {
      await writeFile(path(), text, { mode: 0o600 });
      await expect(loadOperatorToken(path())).rejects.toThrow(/does not hold a token/);
    },
  );
});
