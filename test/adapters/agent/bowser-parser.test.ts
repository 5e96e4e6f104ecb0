import { describe, expect, it } from 'vitest';
import { BowserAgentParser } from '#src/adapters/agent/bowser-parser.ts';

describe('the User-Agent parser', () => {
  const parser = new BowserAgentParser(2);

  it.each([
    ['Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0', 'Firefox 145', 'Linux'],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
      'Chrome 141',
      'Windows 10',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1',
      'Safari 18',
      'iOS 18.1',
    ],
    [
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15',
      'Safari 18',
      'macOS 10.15.7',
    ],
  ])('reads %s', async (header, browser, operatingSystem) => {
    expect(await parser.parse(header)).toEqual({ browser, operatingSystem });
    expect(await parser.parse(header)).toEqual({ browser, operatingSystem });
  });

  it('answers empty names for what it does not know', async () => {
    const nothing = { browser: '', operatingSystem: '' };
    for (const header of ['', ' ', '\0\0', 'BankApp/4.1', '(((((', 'é'.repeat(5_000)]) {
      expect(await parser.parse(header)).toEqual(nothing);
    }
  });

  it('reads a hostile header of any length in no time', async () => {
    const times: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const started = performance.now();
      await parser.parse(`Mozilla/5.${round} (${'Android '.repeat(100_000)}`);
      times.push(performance.now() - started);
    }
    // The others may have met a pause of the machine.
    expect(Math.min(...times)).toBeLessThan(100);
  });
});
