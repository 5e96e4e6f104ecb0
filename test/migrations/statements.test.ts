import { expect, it } from 'vitest';
// @ts-expect-error: a script without types.
import { statementsOf } from '../../scripts/sql-migrations.mjs';

it('splits at semicolons at the end of a line, without the comments', () => {
  expect(
    statementsOf(
      "-- first\nCREATE TABLE a (\n  b TEXT -- ; not here\n);\n\n-- second;\nINSERT INTO a VALUES ('$1');\n",
    ),
  ).toEqual(['CREATE TABLE a (\n  b TEXT -- ; not here\n)', "INSERT INTO a VALUES ('$1')"]);
});

it('keeps the body of a function between dollar quotes whole', () => {
  const text = `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
-- stays
  PERFORM $$one;$$;
  RETURN NULL;
END
$body$;
DO $$
BEGIN
  NULL;
END $$;
`;
  const statements = statementsOf(text) as string[];
  expect(statements).toHaveLength(2);
  expect(statements[0]).toContain('-- stays');
  expect(statements[0]?.endsWith('$body$')).toBe(true);
  expect(statements[1]).toBe('DO $$\nBEGIN\n  NULL;\nEND $$');
});

it('refuses a text whose last statement has no end', () => {
  expect(() => statementsOf('CREATE TABLE a (b TEXT)\n')).toThrow('has no end');
});
