import { globSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Import, importsOf, reduceSource } from './support/source-code.ts';

/**
 * The architecture, as a table and as a test.
 *
 *   main → cli → compose → transport → services → ports → domain
 *                        ↘ adapters ────────────↗
 *                cli → config → domain
 *
 * A room is a folder of src (each folder of adapters is one) or a file at its top. `may` are the rooms that it may
 * import besides itself; nothing else, not even a type.
 */
const ROOMS: Readonly<Record<string, { readonly is: string; readonly may: readonly string[] }>> = {
  domain: { is: 'pure rules and records', may: [] },
  ports: { is: 'what services need from outside', may: ['domain'] },
  services: { is: 'use cases', may: ['ports', 'domain'] },
  transport: { is: 'one handler set under two transports', may: ['services', 'ports', 'domain', 'gen'] },
  'adapters/agent': { is: 'User-Agent parser', may: ['ports', 'domain'] },
  'adapters/audit': { is: 'the audit file, its verification and export', may: ['ports', 'domain', 'gen'] },
  'adapters/central': {
    is: 'the trail in PostgreSQL: flush, search, verification, keys of persons',
    may: ['ports', 'domain', 'gen', 'adapters/audit', 'adapters/postgres', 'adapters/sql'],
  },
  'adapters/geo': { is: 'MaxMind file', may: ['ports', 'domain'] },
  'adapters/jose': { is: 'signed receipts', may: ['ports', 'domain'] },
  'adapters/local': {
    is: 'the worker thread that owns both SQLite files, and its proxies',
    may: ['ports', 'domain', 'adapters/sql', 'adapters/audit', 'adapters/secrets', 'adapters/system', 'gen'],
  },
  'adapters/notices': { is: 'notices to the log and to a webhook', may: ['ports', 'domain'] },
  'adapters/memory': { is: 'signals within one process', may: ['ports', 'domain'] },
  'adapters/phone': { is: 'numbering plans', may: ['ports', 'domain'] },
  'adapters/postgres': {
    is: 'units of work on PostgreSQL',
    may: ['ports', 'domain', 'gen', 'adapters/sql', 'adapters/audit', 'adapters/shared'],
  },
  'adapters/redis': {
    is: 'copies and news in Redis; its scripts are generated',
    may: ['ports', 'domain', 'gen', 'adapters/shared'],
  },
  'adapters/secrets': { is: 'key ring, sealing, digests, slow hash', may: ['ports', 'domain'] },
  'adapters/shared': {
    is: 'one state for many sidecars: copies in front of the database, the fence over them, the breaker',
    may: ['ports', 'domain'],
  },
  'adapters/sql': {
    is: 'stores as conditional statements; its migrations are generated',
    may: ['ports', 'domain', 'gen'],
  },
  'adapters/sms-console': { is: 'messages into the log, for trying out', may: ['ports', 'domain'] },
  'adapters/system': { is: 'the real clock and randomness', may: ['ports', 'domain'] },
  'adapters/webpush': { is: 'Web Push', may: ['ports', 'domain'] },
  'adapters/webauthn': { is: 'ceremonies of WebAuthn', may: ['ports', 'domain'] },
  'adapters/telemetry': { is: 'log and metrics', may: ['ports', 'domain'] },
  'adapters/twilio': { is: 'SMS by Twilio', may: ['ports', 'domain'] },
  config: { is: 'settings', may: ['domain'] },
  cli: {
    is: 'the command line',
    may: [
      ...['config', 'compose', 'domain', 'ports', 'version', 'gen'],
      ...['adapters/audit', 'adapters/central', 'adapters/secrets', 'adapters/postgres', 'adapters/system'],
    ],
  },
  compose: {
    is: 'wiring; knows everything but the command line',
    may: ['transport', 'services', 'ports', 'domain', 'config', 'version', 'gen', 'adapters/*'],
  },
  public: { is: 'what runs in browsers of end users; the build embeds it', may: [] },
  main: { is: 'the process', may: ['cli'] },
  version: { is: 'the version', may: [] },
  gen: { is: 'generated code', may: ['gen'] },
};

/** The home of each dependency; a second home is a decision to be made here. */
const DEPENDENCIES: Readonly<Record<string, readonly string[]>> = {
  otplib: ['domain/totp.ts'],
  '@otplib/plugin-crypto-node': ['domain/totp.ts'],
  '@bufbuild/protobuf': ['transport/', 'adapters/audit/', 'cli/', 'compose'],
  '@connectrpc/connect': ['transport/connect/'],
  '@connectrpc/connect-node': ['transport/connect/'],
  '@grpc/grpc-js': ['transport/grpc/', 'cli/'],
  qrcode: ['transport/'],
  'libphonenumber-js': ['adapters/phone/'],
  twilio: ['adapters/twilio/'],
  'better-sqlite3': ['adapters/local/', 'adapters/audit/'],
  pg: ['adapters/postgres/'],
  ioredis: ['adapters/redis/'],
  jose: ['adapters/jose/'],
  'mmdb-lib': ['adapters/geo/'],
  bowser: ['adapters/agent/'],
  'web-push': ['adapters/webpush/'],
  '@simplewebauthn/server': ['adapters/webauthn/'],
  pino: ['adapters/telemetry/'],
  'prom-client': ['adapters/telemetry/'],
  zod: ['config/'],
  yaml: ['config/yaml-file.ts'],
  commander: ['cli/'],
};

/** What reaches outside, how it is recognised, and the places that may. */
const REACHES: readonly { readonly what: string; readonly pattern: RegExp; readonly only: readonly string[] }[] = [
  { what: 'the wall clock', pattern: /\bDate\b|\bTemporal\.Now\b/, only: ['adapters/', 'cli/', 'public/'] },
  {
    what: 'the monotonic clock',
    pattern: /\bperformance\.|\bhrtime\b/,
    only: ['adapters/', 'cli/', 'transport/', 'compose', 'public/'],
  },
  { what: 'weak randomness', pattern: /\bMath\.random\b/, only: [] },
  {
    what: 'timers',
    pattern: /\bset(?:Timeout|Interval|Immediate)\b|node:timers/,
    only: ['adapters/', 'transport/', 'cli/', 'compose', 'public/'],
  },
  {
    what: 'the process',
    pattern: /\bprocess\.|node:process/,
    only: ['main.ts', 'adapters/', 'transport/listen.ts', 'cli/', 'compose'],
  },
  { what: 'the console', pattern: /\bconsole\./, only: [] },
  {
    what: 'the network',
    pattern: /node:(?:net|http|http2|https|tls|dgram|dns)\b|\bfetch\(/,
    only: ['transport/', 'cli/', 'adapters/notices/', 'adapters/webpush/', 'public/api.ts'],
  },
  {
    what: 'files',
    pattern: /node:fs\b/,
    only: ['adapters/', 'transport/listen.ts', 'config/load.ts', 'config/yaml-file.ts', 'cli/', 'compose'],
  },
  { what: 'other processes', pattern: /node:child_process\b/, only: [] },
  {
    what: 'threads',
    pattern: /node:worker_threads\b/,
    only: ['adapters/', 'transport/qr.ts', 'transport/qr-worker.ts', 'compose'],
  },
  { what: 'code from text', pattern: /\beval\(|new Function\(|node:vm\b/, only: [] },
];

/** What the language offers and this project does without. */
const REFUSED: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: 'a default export', pattern: /^export default\b/m },
  { what: '`any`', pattern: /(?:[:<|&,(]|=>|\bas)\s*any\b(?!\s*[:(])/ },
  { what: 'a non-null assertion', pattern: /[\w)\]]!(?=[.[;,)\s]|$)(?!\s*=)/m },
  { what: 'a re-export of everything', pattern: /^export \* /m },
  { what: 'a silenced compiler', pattern: /@ts-(?:ignore|nocheck|expect-error)/ },
];

const MAX_LINES = 350;
/** Started by name rather than imported: the process, the threads, and the scripts of pages. */
const ENTRIES = [
  ...['main.ts', 'adapters/local/worker.ts', 'transport/qr-worker.ts'],
  ...['public/enroll.ts', 'public/approve.ts', 'public/not-me.ts', 'public/worker/sw.ts'],
];

interface File {
  readonly path: string;
  readonly lines: number;
  readonly code: string;
  readonly bare: string;
  readonly imports: readonly (Import & { readonly target: string | undefined })[];
}

/** `target` is a path inside src, undefined for packages. */
function targetOf(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('#src/')) return specifier.slice('#src/'.length);
  if (!specifier.startsWith('.')) return undefined;
  return posix.join(posix.dirname(from), specifier);
}

function roomOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  const room = first === 'adapters' ? `${first}/${second}` : first;
  return room.replace(/\.ts$/, '');
}

function fileOf(path: string, source: string): File {
  const { code, bare } = reduceSource(source);
  const imports = importsOf(code).map((one) => ({ ...one, target: targetOf(path, one.specifier) }));
  return { path, lines: source.split('\n').length - 1, code, bare, imports };
}

const isIn = (path: string, places: readonly string[]) => places.some((place) => path.startsWith(place));

function wrongImports(files: readonly File[]): string[] {
  const wrong: string[] = [];
  for (const { path, imports } of files) {
    const room = roomOf(path);
    const may = ROOMS[room]?.may ?? [];
    for (const { specifier, target } of imports) {
      if (target === undefined) {
        if (specifier.startsWith('node:')) continue;
        const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
        if (!isIn(path, DEPENDENCIES[name] ?? []))
          wrong.push(`${path} imports ${specifier}, which is not at home there`);
      } else if (target === '../package.json') {
        if (room !== 'version') wrong.push(`${path} imports package.json; only version.ts does`);
      } else {
        const other = roomOf(target);
        const allowed =
          other === room || may.includes(other) || (other.startsWith('adapters/') && may.includes('adapters/*'));
        if (!allowed) wrong.push(`${path} imports ${target}: ${room} may not know ${other}`);
        if (other === room && specifier.startsWith('#src/'))
          wrong.push(`${path} imports ${specifier} of its own room by #src/`);
      }
    }
  }
  return wrong;
}

function cycles(files: readonly File[]): string[] {
  const graph = new Map(
    files.map(({ path, imports }) => [path, imports.flatMap(({ target }) => (target ? [target] : []))]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const begins = trail.indexOf(path);
    if (begins >= 0) found.push([...trail.slice(begins), path].join(' → '));
    if (begins >= 0 || done.has(path)) return;
    trail.push(path);
    for (const next of graph.get(path) ?? []) visit(next);
    trail.pop();
    done.add(path);
  };
  for (const { path } of files) visit(path);
  return found;
}

function reachesOutside(files: readonly File[]): string[] {
  return files.flatMap(({ path, bare, imports }) => {
    const text = [bare, ...imports.map(({ specifier }) => specifier)].join('\n');
    return REACHES.filter(({ pattern, only }) => pattern.test(text) && !isIn(path, only)).map(
      ({ what }) => `${path} reaches ${what}`,
    );
  });
}

function refused(files: readonly File[]): string[] {
  return files.flatMap(({ path, bare }) =>
    REFUSED.filter(({ pattern }) => pattern.test(bare)).map(({ what }) => `${path} has ${what}`),
  );
}

function nobodyImports(files: readonly File[]): string[] {
  const known = new Set(files.flatMap(({ imports }) => imports.map(({ target }) => target)));
  return files.map(({ path }) => path).filter((path) => !known.has(path) && !ENTRIES.includes(path));
}

/** Files that are loaded with `start`, before anything is called. */
function loadedWith(files: readonly File[], start: string): ReadonlySet<string> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const loaded = new Set<string>();
  const visit = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { kind, target, specifier } of byPath.get(path)?.imports ?? [])
      if (kind === 'static') visit(target ?? specifier);
  };
  visit(start);
  return loaded;
}

const src = new URL('../src/', import.meta.url);
const files = globSync('**/*.ts', { cwd: src })
  .filter((path) => !path.startsWith('gen/'))
  .sort()
  .map((path) => fileOf(path, readFileSync(new URL(path, src), 'utf8')));

describe('the sources', () => {
  it('live in rooms that the table knows', () => {
    expect(files.length).toBeGreaterThan(100);
    expect(files.filter(({ path }) => !(roomOf(path) in ROOMS)).map(({ path }) => path)).toEqual([]);
  });

  it('import only what the table allows', () => expect(wrongImports(files)).toEqual([]));
  it('have no cycles, not even of types', () => expect(cycles(files)).toEqual([]));
  it('reach outside only where the table allows', () => expect(reachesOutside(files)).toEqual([]));
  it('do without what the table refuses', () => expect(refused(files)).toEqual([]));
  it('are all imported by something', () => expect(nobodyImports(files)).toEqual([]));

  it(`have at most ${MAX_LINES} lines each`, () => {
    expect(files.filter(({ lines }) => lines > MAX_LINES).map(({ path, lines }) => `${path}: ${lines}`)).toEqual([]);
  });

  it('have kebab-case names that say something', () => {
    const named = /^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)*[a-z0-9]+(?:-[a-z0-9]+)*\.ts$/;
    const vague = /(?:^|\/)(?:utils?|helpers?|common|manager|impl|index|misc)\.ts$/;
    expect(files.map(({ path }) => path).filter((path) => !named.test(path) || vague.test(path))).toEqual([
      // Shared pieces of the API have this name in proto/ too.
      'transport/mapping/common.ts',
    ]);
  });
});

describe('what a command loads', () => {
  it('is nothing of other commands', () => {
    const loaded = [...loadedWith(files, 'main.ts')];
    expect(loaded.filter((path) => /^(?:adapters|transport|services|compose|gen)/.test(path))).toEqual([]);
    expect(loaded.filter((path) => path.startsWith('zod') || path === 'yaml')).toEqual([]);
  });

  it('is no YAML parser for serve without a file', () => {
    expect([...loadedWith(files, 'cli/serve.ts')]).not.toContain('yaml');
  });

  it('is no WebAuthn before the first ceremony', () => {
    const loaded = [...loadedWith(files, 'compose/services.ts')];
    expect(loaded).toContain('adapters/webauthn/ceremonies.ts');
    expect(loaded.filter((path) => path.startsWith('@simplewebauthn/'))).toEqual([]);
  });
});

describe('the checks themselves', () => {
  const broken = (sources: Readonly<Record<string, string>>) =>
    Object.entries(sources).map(([path, source]) => fileOf(path, source));

  it('see forbidden imports, of types too, and foreign dependencies', () => {
    const found = wrongImports(
      broken({
        'domain/a.ts': "import type { Clock } from '../ports/runtime.ts';\nimport pg from 'pg';",
        'services/b.ts': "import { x } from '#src/adapters/sql/row.ts';\nexport { y } from '#src/services/c.ts';",
        'adapters/sql/d.ts': "import { z } from '../audit/file.ts';",
      }),
    );
    expect(found).toEqual([
      'domain/a.ts imports ports/runtime.ts: domain may not know ports',
      'domain/a.ts imports pg, which is not at home there',
      'services/b.ts imports adapters/sql/row.ts: services may not know adapters/sql',
      'services/b.ts imports #src/services/c.ts of its own room by #src/',
      'adapters/sql/d.ts imports adapters/audit/file.ts: adapters/sql may not know adapters/audit',
    ]);
  });

  it('see cycles through any kind of import', () => {
    const found = cycles(
      broken({
        'domain/a.ts': "import { b } from './b.ts';",
        'domain/b.ts': "import type { c } from './c.ts';",
        'domain/c.ts': "const a = await import('./a.ts');",
      }),
    );
    expect(found).toEqual(['domain/a.ts → domain/b.ts → domain/c.ts → domain/a.ts']);
  });

  it('see what reaches outside in code, and not in comments, strings and regular expressions', () => {
    const found = reachesOutside(
      broken({
        'domain/clean.ts':
          '// Date.now()\n/* process.env */ const a = "Date"; const b = `process.`; const c = /Math.random/;',
        'domain/dirty.ts': `const a = \`\${Date.now()} Math.random()\`; const b = 4 / 2; setTimeout(run); // x`,
        'services/files.ts': "import { readFileSync } from 'node:fs';",
      }),
    );
    expect(found).toEqual([
      'domain/dirty.ts reaches the wall clock',
      'domain/dirty.ts reaches timers',
      'services/files.ts reaches files',
    ]);
  });

  it('see what the project does without, and what only looks like it', () => {
    const found = refused(
      broken({
        'domain/a.ts': 'export default 1;',
        'domain/b.ts': 'const a: any = 1;',
        'domain/c.ts': 'const a = list[0]!.name;',
        'domain/d.ts': 'const a = b as any;',
        'domain/clean.ts': 'const any = !a; if (a !== b) throw !c;\n// any one\nconst d = { any: 1 }; f("a!");',
      }),
    );
    expect(found).toEqual([
      'domain/a.ts has a default export',
      'domain/b.ts has `any`',
      'domain/c.ts has a non-null assertion',
      'domain/d.ts has `any`',
    ]);
  });

  it('see files that nobody imports', () => {
    expect(nobodyImports(broken({ 'main.ts': "import './cli/a.ts';", 'cli/a.ts': '', 'cli/b.ts': '' }))).toEqual([
      'cli/b.ts',
    ]);
  });
});
