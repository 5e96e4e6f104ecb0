import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';

const url = new URL('../fixtures/twilio-messages.openapi.json', import.meta.url);
const document: Record<string, unknown> = JSON.parse(readFileSync(url, 'utf8'));

// What comes in a form is text; formats such as `phone-number` are Twilio's own.
const ajv = new Ajv({ strict: false, validateFormats: false, coerceTypes: true, allErrors: true });
ajv.addSchema(document, 'twilio');

const CREATE = '#/paths/~12010-04-01~1Accounts~1%7BAccountSid%7D~1Messages.json/post';
const FORM = `${CREATE}/requestBody/content/application~1x-www-form-urlencoded/schema`;

const compiled = (pointer: string): ValidateFunction => ajv.compile({ $ref: `twilio${pointer}` });
const form = compiled(FORM);
const message = compiled('#/components/schemas/api.v2010.account.message');
const known = new Set(Object.keys(at(FORM, 'properties')));

function at(pointer: string, ...more: readonly string[]): Record<string, unknown> {
  let node: unknown = document;
  const steps = pointer
    .slice(2)
    .split('/')
    .map((step) => decodeURIComponent(step).replaceAll('~1', '/'));
  for (const step of [...steps, ...more]) node = Object(node)[step];
  if (typeof node !== 'object' || node === null) throw new Error(`the description has no ${pointer}`);
  return node as Record<string, unknown>;
}

/** What is wrong with a request to make a message, by Twilio's own description; empty when nothing is. */
export function complaintsAboutForm(fields: Readonly<Record<string, string>>): readonly string[] {
  const unknown = Object.keys(fields).filter((name) => !known.has(name));
  const ok = form({ ...fields });
  return [...unknown.map((name) => `${name} is not a field`), ...(ok ? [] : errorsOf(form))];
}

/** What is wrong with a message resource as answered. */
export function complaintsAboutMessage(body: unknown): readonly string[] {
  return message(structuredClone(body)) ? [] : errorsOf(message);
}

/** The examples of the description. */
export function exampleMessages(): readonly unknown[] {
  const examples = at(`${CREATE}/responses/201/content/application~1json/examples`);
  return Object.values(examples).map((example) => Object(example)['value']);
}

function errorsOf(validate: ValidateFunction): readonly string[] {
  return (validate.errors ?? []).map(({ instancePath, message: what }) => `${instancePath} ${what}`);
}
