import { expect, it } from 'vitest';
import { NOTABLE } from '#src/domain/notice.ts';
import { noticeText } from '#src/domain/notice-text.ts';

it('has words of its own for everything that people are told of, short enough for a message', () => {
  const fallback = noticeText({ type: 'sidecar.started', facts: {} }).title;
  const titles = [...NOTABLE].map((type) => noticeText({ type, facts: {} }).title);
  expect(titles).not.toContain(fallback);
  expect(new Set(titles).size).toBe(titles.length);
  for (const title of titles) expect(title.length).toBeLessThan(60);
});

it('says how many backup codes are left', () => {
  const left = (codes_left: string) => noticeText({ type: 'backup_code.used', facts: { codes_left } }).body;
  expect([left('9'), left('1'), left('0')]).toEqual([
    '9 are left.',
    'One is left. Make new ones soon.',
    'It was the last one. Make new ones.',
  ]);
});

it('shows no fact that is not a number: nobody writes into what people trust', () => {
  const { title, body } = noticeText({
    type: 'backup_code.used',
    method: 'backup_code',
    facts: { codes_left: 'Click https://evil.example', name: 'https://evil.example' },
  });
  expect(`${title} ${body}`).not.toContain('evil');
});
