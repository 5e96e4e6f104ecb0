import { globSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SETTINGS } from '#src/config/keys.ts';
import { SENSITIVITIES } from '#src/domain/action.ts';
import { reduceSource } from '../support/source-code.ts';

const src = new URL('../../src/', import.meta.url);
/** Where settings are put to use: the wiring, `serve`, the policy made from them, and the rules that refuse a start. */
const users = [
  'compose.ts',
  ...globSync('compose/**/*.ts', { cwd: src }),
  'cli/serve.ts',
  'config/policy.ts',
  'config/cross-check.ts',
];
const code = users.map((path) => reduceSource(readFileSync(new URL(path, src), 'utf8')).bare).join('\n');

describe('every setting', () => {
  it('is read by something', () => {
    const unread = SETTINGS.filter(({ path, note }) => {
      const name = path.at(-1) ?? '';
      const section = path.at(-2);
      const isOnlyOne = SETTINGS.filter((other) => other.path.at(-1) === name).length === 1;
      const ofSection = `\\b${section}\\??\\.${name}\\b|\\{[^{}]*\\b${name}\\b[^{}]*\\} = config\\.${section}\\b`;
      const pattern = isOnlyOne || section === undefined ? `\\b${name}\\b` : ofSection;
      // Settings by sensitivity are handed on together.
      const isOneOfFour = SENSITIVITIES.some((sensitivity) => sensitivity === name);
      const used = isOneOfFour ? `\\b${path.slice(0, -1).join('\\.')}\\b|: config\\.${path[0]}\\b` : pattern;
      // One with a single choice has nothing to tell apart yet.
      const isFixed = /^one of [^,]+$/.test(note.expects);
      return !isFixed && !new RegExp(used).test(code);
    });
    expect(unread.map(({ key }) => key)).toEqual([]);
  });
});
