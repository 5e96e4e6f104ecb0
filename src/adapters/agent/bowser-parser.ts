import type { UserAgentParser } from '#src/ports/devices.ts';

type Names = Awaited<ReturnType<UserAgentParser['parse']>>;

const UNKNOWN: Names = { browser: '', operatingSystem: '' };
/** Real ones are shorter; the rest is not worth a regular expression. */
const MAX_LENGTH = 512;

/** Reads User-Agent headers with bowser, which is loaded with the first one. Keeps the last answers, bounded. */
export class BowserAgentParser implements UserAgentParser {
  readonly #maxEntries: number;
  readonly #known = new Map<string, Names>();

  constructor(maxEntries = 500) {
    this.#maxEntries = maxEntries;
  }

  async parse(userAgent: string): Promise<Names> {
    const header = userAgent.slice(0, MAX_LENGTH);
    if (header === '') return UNKNOWN;
    const known = this.#known.get(header);
    if (known) return known;
    const names = await read(header);
    if (this.#known.size >= this.#maxEntries) {
      const [oldest = ''] = this.#known.keys();
      this.#known.delete(oldest);
    }
    this.#known.set(header, names);
    return names;
  }
}

async function read(header: string): Promise<Names> {
  try {
    const { default: bowser } = await import('bowser');
    const { browser, os } = bowser.parse(header);
    // Windows says NT 10.0 where people say 10; macOS says Catalina where people say 10.15.
    const version = /^\d/.test(os.versionName ?? '') ? os.versionName : os.version;
    return {
      browser: named(browser.name, browser.version?.split('.', 1)[0]),
      operatingSystem: named(os.name, version),
    };
  } catch {
    return UNKNOWN;
  }
}

function named(name: string | undefined, version: string | undefined): string {
  if (!name) return '';
  return version ? `${name} ${version}` : name;
}
