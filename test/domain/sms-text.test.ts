import { describe, expect, it } from 'vitest';
import { SMS_TEMPLATES, smsText, templateFor, templatesFrom } from '#src/domain/sms-text.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';

/** The basic alphabet of 3GPP TS 23.038, section 6.2.1: what a segment has 160 of. */
const GSM = new Set(
  '@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà',
);

describe('the text of a message', () => {
  it.each(SMS_TEMPLATES)('fits into one segment in $language with the longest name', ({ text }) => {
    const message = smsText(text, { code: '123456', app: 'A'.repeat(32), lifeMs: 10 * MINUTE });
    expect([...message].filter((letter) => !GSM.has(letter))).toEqual([]);
    expect(message.length).toBeLessThanOrEqual(160);
    expect(message.match(/123456/g)).toHaveLength(1);
    expect(message).toContain('A'.repeat(32));
    expect(message).toContain('10');
    expect(message).not.toMatch(/[{}]/);
  });

  it('is there in eight languages', () => {
    expect(SMS_TEMPLATES.map(({ language }) => language)).toEqual(['en', 'de', 'fr', 'es', 'pt', 'it', 'nl', 'pl']);
  });

  it.each([
    [1, '1'],
    [59 * SECOND, '1'],
    [60 * SECOND, '1'],
    [61 * SECOND, '2'],
    [10 * MINUTE, '10'],
  ])('counts %i ms as %s minutes', (lifeMs, minutes) => {
    expect(smsText('{minutes}', { code: '1', app: 'x', lifeMs })).toBe(minutes);
  });

  it('takes values as they are: what looks like a place in one is left alone', () => {
    expect(smsText('{app}: {code}', { code: '123456', app: '$& {code} $1', lifeMs: 1 })).toBe('$& {code} $1: 123456');
  });
});

describe('the language of a message', () => {
  const set = [
    { language: 'fr', text: 'fr' },
    { language: 'pt-BR', text: 'br' },
    { language: 'pt', text: 'pt' },
    { language: 'zh-Hant', text: 'hant' },
  ];

  it.each([
    ['fr', 'fr'],
    ['FR-ca', 'fr'],
    ['pt-BR', 'br'],
    ['pt-br-x-y', 'br'],
    ['pt-PT', 'pt'],
    ['zh', 'hant'],
    ['zh-Hans-CN', 'hant'],
    ['sv', 'fr'],
    ['', 'fr'],
    ['pts', 'fr'],
  ])('%j is served by %s', (language, text) => expect(templateFor(language, set)).toBe(text));

  it('is of what was set alone, and English where nothing was', () => {
    expect(templatesFrom(set)).toBe(set);
    expect(templateFor('sv', templatesFrom([]))).toBe(SMS_TEMPLATES[0]?.text);
    expect(templateFor('de-AT', templatesFrom([]))).toContain('gültig');
  });
});
