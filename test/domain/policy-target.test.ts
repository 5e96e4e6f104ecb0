import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchGlob } from '#src/domain/glob.ts';
import { normaliseHost, normalisePath } from '#src/domain/http-target.ts';

describe('matchGlob', () => {
  it.each([
    ['accounts/*', 'accounts/42', true],
    ['accounts/*', 'accounts/42/notes', false],
    ['accounts/**', 'accounts', true],
    ['accounts/**', 'accounts/42/notes', true],
    ['accounts/**', 'accountsx', false],
    ['**/notes', 'notes', true],
    ['**/notes', 'a/b/notes', true],
    ['a/**/z', 'a/z', true],
    ['a/**/z', 'a/b/c/z', true],
    ['a/**/z', 'a/b/c', false],
    ['a/**/m/**/z', 'a/m/x/m/z', true],
    ['*', '', true],
    ['*', 'a/b', false],
    ['**', 'a/b', true],
    ['inv*ce-*', 'invoice-7', true],
    ['inv*ce-*', 'invoices', false],
    ['Accounts/1', 'accounts/1', false],
    ['a.c', 'abc', false],
    ['', '', true],
    ['', 'a', false],
  ])('says for the pattern %j and the text %j: %s', (pattern, text, expected) => {
    expect(matchGlob(pattern, text, '/')).toBe(expected);
  });

  it('separates hosts and actions at dots', () => {
    expect(matchGlob('*.example.com', 'a.example.com', '.')).toBe(true);
    expect(matchGlob('*.example.com', 'a.b.example.com', '.')).toBe(false);
    expect(matchGlob('**.example.com', 'a.b.example.com', '.')).toBe(true);
    expect(matchGlob('transfer.*', 'transfer.create', '.')).toBe(true);
    expect(matchGlob('transfer.*', 'transfers.create', '.')).toBe(false);
  });

  it('agrees with a regular expression on any pattern and text', () => {
    const piece = fc.constantFrom('a', 'b', 'ab', '*', 'a*', '*b', 'a*b', '**', '');
    const word = fc.constantFrom('a', 'b', 'ab', 'aab', 'abb', '');
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 5 }),
        fc.array(word, { minLength: 1, maxLength: 6 }),
        (pattern, text) => {
          // Each segment as `/segment`, so that `**` is any number of them.
          const source = pattern.map((p) => (p === '**' ? '(?:/[^/]*)*' : `/${p.replaceAll('*', '[^/]*')}`)).join('');
          const expected = new RegExp(`^${source}$`).test(`/${text.join('/')}`);
          expect(matchGlob(pattern.join('/'), text.join('/'), '/')).toBe(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('stays quick on patterns that make backtracking matchers explode', () => {
    // Not by the clock: the machine may have stood still meanwhile.
    const started = process.cpuUsage();
    expect(matchGlob('*a'.repeat(200), `${'a'.repeat(400)}b`, '/')).toBe(false);
    expect(matchGlob('**/a/'.repeat(60), 'a/'.repeat(250), '/')).toBe(true);
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1_000).toBeLessThan(500);
  });
});

describe('normalisePath', () => {
  it.each([
    ['/a/b', '/a/b'],
    ['/', '/'],
    ['//a///b//', '/a/b'],
    ['/a/b/', '/a/b'],
    ['/a?x=../..', '/a'],
    ['/%61dmin', '/admin'],
    ['/Admin', '/Admin'],
    ['/admin;jsessionid=1/users', '/admin/users'],
    ['/100%25', '/100%'],
    ['/caf%C3%A9', '/café'],
  ])('reads %j as %j', (raw, expected) => {
    expect(normalisePath(raw)).toBe(expected);
  });

  it.each([
    ['a parent segment', '/a/../admin'],
    ['a current segment', '/./admin'],
    ['an encoded parent segment', '/a/%2e%2E/admin'],
    ['a parent segment with parameters', '/a/..;/admin'],
    ['a segment of parameters only', '/;x=1/admin'],
    ['an encoded slash', '/a%2Fb'],
    ['a backslash', '/a\\..\\admin'],
    ['an encoded backslash', '/a%5cadmin'],
    ['double encoding', '/%252e%252e/admin'],
    ['double encoding of a letter', '/%2561dmin'],
    ['an encoded zero byte', '/admin%00.png'],
    ['a control character', '/admin\n'],
    ['a percent sign without digits', '/a%zz'],
    ['a cut escape', '/a%2'],
    ['an overlong form in UTF-8', '/%c0%ae%c0%ae/admin'],
    ['bytes that are not UTF-8', '/%ff'],
    ['a fragment', '/a#/../admin'],
    ['no leading slash', 'admin'],
    ['an absolute form', 'http://x/admin'],
    ['nothing', ''],
    ['a path without end', `/${'a'.repeat(9_000)}`],
  ])('refuses %s', (_name, raw) => {
    expect(normalisePath(raw)).toBeUndefined();
  });

  it('never answers a path with a dot segment, an empty segment, a backslash or an escape left in it', () => {
    const noise = fc.string({
      unit: fc.constantFrom('/', '.', '%', '2', 'e', 'F', '5', 'c', ';', '\\', 'a', '?'),
      maxLength: 24,
    });
    fc.assert(
      fc.property(noise, (tail) => {
        const path = normalisePath(`/${tail}`);
        if (path === undefined) return;
        expect(path).toMatch(/^\//);
        expect(path).not.toMatch(/\/\/|\\|%[0-9A-Fa-f]{2}|\/\.\.?(?:\/|$)/);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('normaliseHost', () => {
  it.each([
    ['Shop.Example:8443', 'shop.example'],
    ['shop.example.', 'shop.example'],
    ['[2001:DB8::1]:443', '[2001:db8::1]'],
    ['localhost', 'localhost'],
  ])('reads %j as %j', (raw, expected) => {
    expect(normaliseHost(raw)).toBe(expected);
  });

  it.each(['', 'a b', 'user@host', 'host:port', 'a..b', '-/x', 'host\u0000', 'a,b', `${'a'.repeat(64)}.com`])(
    'refuses %j',
    (raw) => {
      expect(normaliseHost(raw)).toBeUndefined();
    },
  );
});
