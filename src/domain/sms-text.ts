import { type DurationMs, MINUTE } from './time.ts';

/** What a message says in one language; `{code}` is in it once, `{app}` and `{minutes}` may be. */
export interface SmsTemplate {
  /** BCP 47. */
  readonly language: string;
  readonly text: string;
}

/**
 * The built-in texts, English first. Each fits into one segment with the longest name of an app, as long as that is
 * written in the letters of GSM 03.38; hence no accents but those that it has.
 */
export const SMS_TEMPLATES: readonly SmsTemplate[] = [
  { language: 'en', text: '{code} is your {app} code. It expires in {minutes} min. Do not share it with anyone.' },
  { language: 'de', text: '{code} ist Ihr {app}-Code, gültig {minutes} Min. Geben Sie ihn nicht weiter.' },
  { language: 'fr', text: '{code} est votre code {app}, valable {minutes} min. Ne le communiquez à personne.' },
  { language: 'es', text: '{code} es su clave de {app}. Caduca en {minutes} min. No la comparta con nadie.' },
  { language: 'pt', text: '{code} é a sua chave de {app}. Expira em {minutes} min. Nunca a partilhe.' },
  { language: 'it', text: '{code} è il codice di {app}. Scade tra {minutes} min. Non condividerlo con nessuno.' },
  { language: 'nl', text: '{code} is uw {app}-code, {minutes} min geldig. Deel deze met niemand.' },
  { language: 'pl', text: '{code} to kod do {app}. Wygasa za {minutes} min. Nie podawaj go nikomu.' },
];

/** Those that were set take the place of all built-in ones. */
export function templatesFrom(set: readonly SmsTemplate[]): readonly SmsTemplate[] {
  return set.length > 0 ? set : SMS_TEMPLATES;
}

/**
 * The template for a person's language by lookup (RFC 4647 section 3.4): the language itself, then with subtags taken off
 * from the end, then any of the same primary language, then the first.
 */
export function templateFor(language: string, templates: readonly SmsTemplate[]): string {
  const tags = templates.map((template) => ({ ...template, language: template.language.toLowerCase() }));
  const subtags = language.toLowerCase().split('-');
  for (let length = subtags.length; length > 0; length -= 1) {
    const range = subtags.slice(0, length).join('-');
    const found = tags.find((template) => template.language === range);
    if (found) return found.text;
  }
  const related = tags.find((template) => template.language.split('-')[0] === subtags[0]);
  return (related ?? tags[0] ?? { text: '{code}' }).text;
}

/** The message. `lifeMs` is how long the code will work from now; part of a minute counts as one. */
export function smsText(
  template: string,
  values: { readonly code: string; readonly app: string; readonly lifeMs: DurationMs },
): string {
  const minutes = String(Math.max(1, Math.ceil(values.lifeMs / MINUTE)));
  const by: Readonly<Record<string, string>> = { code: values.code, app: values.app, minutes };
  return template.replaceAll(/\{(code|app|minutes)\}/g, (_, name: string) => by[name] ?? '');
}
