import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { jsonSchema, renderExample, renderReference } from '#src/config/describe.ts';
import { SECTIONS, SETTINGS } from '#src/config/keys.ts';
import { loadSettings } from '#src/config/load.ts';
import { temporaryFile } from './support/settings-file.ts';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

describe('config.example.yaml', () => {
  it('is what the schema renders (sallyport config example > config.example.yaml)', () => {
    expect(read('config.example.yaml')).toBe(renderExample());
  });

  it('changes nothing when it is used as it is', async () => {
    const used = await loadSettings({ file: temporaryFile(renderExample()), env: {} });
    const bare = await loadSettings({ env: {} });
    expect(used.config).toEqual(bare.config);
    expect(used.notices).toEqual([]);
  });

  it('shows every setting, and each commented line works when it is let in', async () => {
    const everything = renderExample()
      .replace('  rules: []\n', '')
      .replaceAll(/^(\s*)# ((?:\w+: (?:60s|""|\{ file: .*\}))|rules:|(?: {2,}).*)$/gm, '$1$2')
      .replaceAll(/(?<=url: \{ file: )[^ ]+/g, temporaryFile('postgresql://user:hush@db.example/sallyport', 'url'))
      .replaceAll('/run/secrets/name', temporaryFile('hush', 'token'));
    const { config, origins } = await loadSettings({ file: temporaryFile(everything), env: {} });
    expect([...origins].filter(([, { source }]) => source !== 'file')).toEqual([]);
    expect(config.policy.rules).toHaveLength(2);
  });
});

describe('docs/configuration.md', () => {
  it('ends in the tables of the schema (sallyport config reference)', () => {
    const [, tables] = read('docs/configuration.md').split('<!-- made by `sallyport config reference` -->\n\n');
    expect(tables).toBe(renderReference());
  });

  it('has examples that are good settings', async () => {
    const examples = [...read('docs/configuration.md').matchAll(/```yaml\n([^`]*)```/g)].map(([, yaml]) => yaml ?? '');
    expect(examples.length).toBeGreaterThan(1);
    const token = temporaryFile('hush', 'token');
    const url = temporaryFile('postgresql://sallyport:hush@db.example/sallyport', 'url');
    for (const example of examples) {
      const here = example
        .replaceAll(/\/run\/secrets\/postgres[a-z-]*url/g, url)
        .replaceAll(/\/run\/secrets\/(?:twilio-token|redis-password)/g, token);
      await loadSettings({ file: temporaryFile(here), env: {} });
    }
  });
});

describe('the schema', () => {
  it('says in whole sentences what each setting and section means', () => {
    for (const { key, note } of SETTINGS) expect(note.doc, key).toMatch(/^[`A-Z"].*\.$/);
    for (const { key, doc } of SECTIONS) expect(doc, key).toMatch(/^[A-Z].*\.$/);
  });

  it('is a JSON Schema of draft 2020-12 that refuses unknown keys everywhere and describes every setting', () => {
    const made = jsonSchema();
    expect(made['$schema']).toBe('https://json-schema.org/draft/2020-12/schema');
    interface Part {
      readonly description?: string;
      readonly properties?: Readonly<Record<string, Part>>;
      readonly additionalProperties?: boolean;
      readonly required?: readonly string[];
    }
    for (const { path, key } of SETTINGS) {
      let part = made as Part;
      for (const step of path) {
        expect(part.additionalProperties, key).toBe(false);
        expect(part.required ?? [], key).toEqual([]);
        part = part.properties?.[step] ?? {};
      }
      expect(part.description, key).toMatch(/\.$/);
    }
  });

  it('has the defaults of the example in its JSON Schema', () => {
    interface Part {
      readonly default?: unknown;
      readonly properties?: Readonly<Record<string, Part>>;
    }
    const walk = (part: Part, value: unknown, path: string): void => {
      // A section whose settings are all commented out.
      if (value === null) return;
      if (part.properties && typeof value === 'object')
        for (const [key, inner] of Object.entries(value)) walk(part.properties[key] ?? {}, inner, `${path}.${key}`);
      else expect(part.default, path).toEqual(value);
    };
    walk(jsonSchema() as Part, parse(renderExample()), '');
  });
});
