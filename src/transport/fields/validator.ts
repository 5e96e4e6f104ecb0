import { type DescEnum, type DescField, type DescMessage, type DescOneof, ScalarType } from '@bufbuild/protobuf';
import { type FieldViolation, invalidFields } from '../../domain/faults.ts';
import { REQUEST_RULES } from './request-rules.ts';
import type { FieldRule, MessageRules } from './rules.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Answers the first words against a value, or undefined if it is fine. Never with the value in it. */
type ValueCheck = (value: unknown) => string | undefined;

/** Looks at one part of a message; reports what it finds. */
type Check = (message: Fields, report: (field: string, description: string) => void) => void;

/** Throws Fault(invalid, FIELD_INVALID) that names every field that breaks its rule. */
export type Validator = (message: object) => void;

const MAX_REPORTED = 8;

/**
 * Compiles the rules of a request message and of all messages in it. Throws if a field that needs a rule has none, or a
 * rule has no field, so that the table cannot fall behind the protos.
 */
export function compileValidator(
  desc: DescMessage,
  rules: Readonly<Record<string, MessageRules>> = REQUEST_RULES,
): Validator {
  const checks = compileMessage(desc, '', rules);
  return (message) => {
    let found: FieldViolation[] | undefined;
    const report = (field: string, description: string) => {
      found ??= [];
      if (found.length < MAX_REPORTED) found.push({ field, description });
    };
    for (const check of checks) check(message as Fields, report);
    if (found) throw invalidFields(found);
  };
}

function compileMessage(desc: DescMessage, prefix: string, rules: Readonly<Record<string, MessageRules>>): Check[] {
  if (desc.typeName === 'google.protobuf.Timestamp') return [timestampCheck(prefix.slice(0, -1))];
  const own = rules[desc.typeName];
  if (!own) throw new Error(`no field rules for ${desc.typeName}`);
  const unused = new Set([...Object.keys(own.fields), ...(own.required ?? [])]);
  const checks: Check[] = [];
  for (const member of desc.members) {
    unused.delete(member.name);
    if (own.required?.includes(member.name)) checks.push(requiredCheck(member, prefix));
    if (member.kind !== 'oneof') {
      checks.push(...fieldChecks(member, prefix, own, rules));
      continue;
    }
    const cases = new Map<string, Check[]>();
    for (const field of member.fields) {
      unused.delete(field.name);
      cases.set(field.localName, fieldChecks(field, prefix, own, rules));
    }
    checks.push(oneofCheck(member, cases));
  }
  for (const { field, words, when } of own.requiredWhen ?? []) {
    const member = desc.members.find((one) => one.name === field);
    if (!member) throw new Error(`the field rules of ${desc.typeName} name ${field}, which it does not have`);
    checks.push((message, report) => {
      if (isUnset(member, message) && when(message)) report(prefix + field, words);
    });
  }
  if (unused.size > 0) {
    throw new Error(`the field rules of ${desc.typeName} name ${[...unused].join(', ')}, which it does not have`);
  }
  return checks;
}

function requiredCheck(member: DescField | DescOneof, prefix: string): Check {
  const path = prefix + member.name;
  return (message, report) => {
    if (isUnset(member, message)) report(path, 'is required');
  };
}

function isUnset(member: DescField | DescOneof, message: Fields): boolean {
  const value = message[member.localName];
  if (member.kind === 'oneof') return (value as { case?: string }).case === undefined;
  if (value instanceof Uint8Array) return value.length === 0;
  return value === undefined || value === '' || value === 0;
}

function oneofCheck(oneof: DescOneof, cases: ReadonlyMap<string, readonly Check[]>): Check {
  return (message, report) => {
    const chosen = message[oneof.localName] as { readonly case?: string; readonly value?: unknown };
    if (chosen.case === undefined) return;
    const content = { [chosen.case]: chosen.value };
    for (const check of cases.get(chosen.case) ?? []) check(content, report);
  };
}

function fieldChecks(
  field: DescField,
  prefix: string,
  own: MessageRules,
  rules: Readonly<Record<string, MessageRules>>,
): Check[] {
  const { localName } = field;
  const path = prefix + field.name;
  if (field.fieldKind === 'message') {
    const nested = compileMessage(field.message, `${path}.`, rules);
    const check: Check = (message, report) => {
      const value = message[localName];
      if (value !== undefined) for (const one of nested) one(value as Fields, report);
    };
    return nested.length === 0 ? [] : [check];
  }
  const rule = own.fields[field.name];
  if (field.fieldKind === 'list') return [listCheck(field, path, rule)];
  if (field.fieldKind === 'map') return [mapCheck(field, path, rule)];
  if (field.fieldKind === 'enum') return [valueFieldCheck(localName, path, enumCheck(field.enum))];
  if (!rule && needsNoRule(field.scalar)) return [];
  return [valueFieldCheck(localName, path, valueCheck(field, rule))];
}

/** Every value of these types is meaningful. */
function needsNoRule(scalar: ScalarType): boolean {
  return scalar === ScalarType.BOOL || scalar === ScalarType.UINT64;
}

function valueFieldCheck(localName: string, path: string, check: ValueCheck): Check {
  return (message, report) => {
    const value = message[localName];
    if (value === '' || value === undefined) return;
    const words = check(value);
    if (words !== undefined) report(path, words);
  };
}

function listCheck(field: DescField & { fieldKind: 'list' }, path: string, rule: FieldRule | undefined): Check {
  if (rule?.kind !== 'list' || field.listKind === 'message') throw new Error(`${path} needs a rule for a list`);
  const check = field.listKind === 'enum' ? enumCheck(field.enum) : valueCheck(field, rule.item);
  return (message, report) => {
    const values = message[field.localName] as readonly unknown[];
    if (values.length > rule.maxCount) {
      report(path, `must have at most ${rule.maxCount} entries`);
      return;
    }
    for (const [index, value] of values.entries()) {
      const words = check(value);
      if (words !== undefined) report(`${path}[${index}]`, words);
    }
  };
}

function mapCheck(field: DescField & { fieldKind: 'map' }, path: string, rule: FieldRule | undefined): Check {
  if (rule?.kind !== 'map' || field.mapKind !== 'scalar') throw new Error(`${path} needs a rule for a map of scalars`);
  const checkKey = valueCheck(field, rule.key);
  const checkValue = valueCheck(field, rule.value);
  return (message, report) => {
    // Own keys only: an entry named `__proto__` is an entry like any other.
    const entries = Object.entries(message[field.localName] as Record<string, unknown>);
    if (entries.length > rule.maxCount) {
      report(path, `must have at most ${rule.maxCount} entries`);
      return;
    }
    for (const [key, value] of entries) {
      const keyWords = key === '' ? 'must not be empty' : checkKey(key);
      if (keyWords !== undefined) report(path, `a key ${keyWords}`);
      const valueWords = checkValue(value);
      if (valueWords !== undefined) report(path, `a value ${valueWords}`);
    }
  };
}

function enumCheck(desc: DescEnum): ValueCheck {
  const known = new Set(desc.values.map((value) => value.number));
  return (value) => (known.has(value as number) ? undefined : `is not a ${desc.name} that this release knows`);
}

function valueCheck(field: DescField, rule: FieldRule | undefined): ValueCheck {
  switch (rule?.kind) {
    case 'text':
      return (value) => textFault(value as string, rule);
    case 'bytes':
      return (value) =>
        (value as Uint8Array).length > rule.maxBytes ? `must be at most ${rule.maxBytes} bytes` : undefined;
    case 'number':
      return (value) => {
        const given = value as number;
        if (rule.min === 0 && given < 0) return 'must not be negative';
        return given < rule.min || given > rule.max ? `must be from ${rule.min} to ${rule.max}` : undefined;
      };
    default:
      throw new Error(`${field.parent.typeName}.${field.name} needs a field rule`);
  }
}

function textFault(value: string, rule: FieldRule & { kind: 'text' }): string | undefined {
  // At most three bytes per unit of UTF-16, so most texts need no counting.
  if (value.length * 3 > rule.maxBytes && Buffer.byteLength(value, 'utf8') > rule.maxBytes) {
    return `must be at most ${rule.maxBytes} bytes`;
  }
  // JSON can spell halves of surrogate pairs, which no UTF-8 can carry.
  if (!value.isWellFormed()) return 'must be well-formed Unicode';
  return rule.form && !rule.form.test(value) ? `must ${rule.form.words}` : undefined;
}

/** 0001-01-01 to 9999-12-31, the range of google.protobuf.Timestamp. */
const FIRST_SECOND = -62_135_596_800n;
const LAST_SECOND = 253_402_300_799n;

function timestampCheck(path: string): Check {
  return (message, report) => {
    const { seconds, nanos } = message as { readonly seconds: bigint; readonly nanos: number };
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND || nanos < 0 || nanos > 999_999_999) {
      report(path, 'must be an instant from the year 1 to 9999');
    }
  };
}
