import { describe, expect, it } from 'vitest';
import { loadSettings } from '#src/config/load.ts';
import { ConfigError } from '#src/config/problem.ts';
import { temporaryFile } from '../support/settings-file.ts';

async function problems(settings: string): Promise<readonly string[]> {
  try {
    await loadSettings({ file: temporaryFile(settings), env: {} });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ key, what }) => `${key} ${what}`);
    throw error;
  }
}

const listener = (inside: string, more = '') => problems(`listeners: { ${more} public: { ${inside} } }`);

describe('the public listener beyond loopback', () => {
  const needed = [expect.stringMatching(/^listeners\.public\.address is beyond loopback without TLS/)];

  it('needs a proxy in front that ends TLS, by word of both settings', async () => {
    const address = 'address: "0.0.0.0:8088"';
    expect(await listener(address)).toEqual(needed);
    expect(await listener(`${address}, url: "https://auth.example"`)).toEqual(needed);
    expect(await listener(`${address}, trust_proxy: 1`)).toEqual(needed);
    expect(await listener(`${address}, trust_proxy: 1, url: "http://localhost:8088"`)).toEqual(needed);
    expect(await listener(`${address}, trust_proxy: 1, url: "https://auth.example"`)).toEqual([]);
  });

  it('does not loosen the others, nor they it', async () => {
    const both = 'address: "0.0.0.0:8088", trust_proxy: 1, url: "https://auth.example"';
    expect(await listener(both, 'http: { address: "0.0.0.0:8080" },')).toEqual([
      expect.stringMatching(/^listeners\.http\.address is beyond loopback/),
    ]);
    expect(await listener('address: "127.0.0.1:8088"')).toEqual([]);
    expect(await listener('address: "0.0.0.0:8088"', 'allow_insecure: true,')).toEqual([]);
  });
});
