import { expect, it } from 'vitest';
import { loadSettings } from '#src/config/load.ts';
import { ConfigError } from '#src/config/problem.ts';
import { temporaryFile } from '../support/settings-file.ts';

async function problems(url: string, environment = 'production'): Promise<readonly string[]> {
  const settings = [
    `environment: ${environment}`,
    'keys: { file: /run/keys.json }',
    'operator: { token_file: /run/token }',
    `notices: { channel: webhook, webhook_url: "${url}", webhook_secret: { env: SECRET } }`,
  ];
  try {
    await loadSettings({
      file: temporaryFile(settings.join('\n')),
      env: { SECRET: 'a-key-for-notices-of-32-characters' },
    });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ key, what }) => `${key} ${what}`);
    throw error;
  }
}

it('takes notices beyond this machine in production by https alone: they name people and carry links that lock them', async () => {
  const refused = [expect.stringMatching(/^notices\.webhook_url must be https/)];
  expect(await problems('http://app.example.com/notices')).toEqual(refused);
  expect(await problems('http://127.0.0.1.evil.example/notices')).toEqual(refused);
  expect(await problems('https://app.example.com/notices')).toEqual([]);
  expect(await problems('http://127.0.0.1:8080/notices')).toEqual([]);
  expect(await problems('http://localhost:8080/notices')).toEqual([]);
  expect(await problems('http://app.example.com/notices', 'development')).toEqual([]);
});

it('says at start that an address is none, rather than with the first notice', async () => {
  expect(await problems('https://[', 'development')).toEqual([
    expect.stringMatching(/^notices\.webhook_url is no URL/),
  ]);
});
