// Compiles src/adapters/redis/scripts/<intent>-<number of keys>.lua into src/gen/redis/scripts.js, so that the bundle
// carries the texts and no file is read at start. Every script says in its header what its keys and arguments are; one
// that uses others, reads the clock or rolls dice is refused: a replayed or re-sent script must do the same again.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const source = new URL('../src/adapters/redis/scripts/', import.meta.url);
const target = new URL('../src/gen/redis/', import.meta.url);

/** The numbers in `KEYS[1]`, `KEYS[2]` … of a text, each once, in order. */
function indexes(name, text) {
  const found = [...text.matchAll(new RegExp(`\\b${name}\\[(\\d+)\\]`, 'g'))].map(([, index]) => Number(index));
  return [...new Set(found)].sort((a, b) => a - b);
}

const counting = (numbers) => numbers.every((number, index) => number === index + 1);

/** What is wrong with a script; empty when nothing is. */
export function problemsOf(file, text) {
  const match = /^[a-z]+(?:-[a-z]+)*-(\d)\.lua$/.exec(file);
  if (!match) return [`${file}: scripts are named <intent>-<number of keys>.lua`];
  const keys = Number(match[1]);
  const lines = text.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('--'));
  const header = lines.slice(0, end).join('\n');
  const body = lines.slice(end).join('\n');
  const problems = [];
  const note = (problem) => problems.push(`${file}: ${problem}`);
  if (!/^-- \S/.test(header)) note('the header begins with what the script does');
  for (const name of ['KEYS', 'ARGV']) {
    const declared = [...header.matchAll(new RegExp(`^-- ${name}\\[(\\d+)\\] {2}\\S`, 'gm'))].map(([, n]) => Number(n));
    const used = indexes(name, body);
    if (!counting(declared)) note(`the header lists ${name}[1], ${name}[2] … in order`);
    if (declared.join() !== used.join()) note(`the header lists ${name} [${declared}], the script uses [${used}]`);
    if (new RegExp(`\\b${name}\\b(?!\\[\\d)`).test(body)) note(`${name} is read by number only`);
    if (name === 'KEYS' && declared.length !== keys) note(`the name says ${keys} keys, the header ${declared.length}`);
  }
  if (!/^-- returns {2}\{'[a-z]+'/m.test(header)) note("the header says what is returned: a tagged array, as {'kept'}");
  if (!/\breturn\b/.test(body)) note('returns nothing');
  if (/['"]time['"]|\bmath\.random|\bos\.|['"](?:randomkey|srandmember|spop|hrandfield|zrandmember)['"]/i.test(body))
    note('takes time or chance from the server; pass them in');
  return problems;
}

export function compileScripts() {
  const files = readdirSync(source).sort();
  const scripts = files.map((file) => {
    const text = readFileSync(new URL(file, source), 'utf8').replaceAll('\r\n', '\n');
    const problems = problemsOf(file, text);
    if (problems.length > 0) throw new Error(problems.join('\n'));
    const [, intent, keys] = /^(.*)-(\d)\.lua$/.exec(file);
    const name = intent.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
    const script = { name: intent, keys: Number(keys), sha1: createHash('sha1').update(text).digest('hex'), text };
    return { name, script };
  });
  const head = '// Made by scripts/lua-scripts.mjs from src/adapters/redis/scripts. Do not edit.\n';
  const shape = `export interface RedisScript {
  /** What it does, for people. */
  readonly name: string;
  readonly keys: number;
  /** SHA-1 of the text, hexadecimal: the name that Redis knows it by. */
  readonly sha1: string;
  readonly text: string;
}
`;
  const code = scripts.map(({ name, script }) => `export const ${name} = ${JSON.stringify(script, undefined, 2)};\n`);
  const types = scripts.map(({ name }) => `export declare const ${name}: RedisScript;\n`);
  mkdirSync(target, { recursive: true });
  writeFileSync(new URL('scripts.js', target), `${head}${code.join('')}`);
  writeFileSync(new URL('scripts.d.ts', target), `${head}${shape}${types.join('')}`);
}
