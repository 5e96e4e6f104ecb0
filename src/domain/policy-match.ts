import { matchGlob } from './glob.ts';
import { normaliseHost, normalisePath } from './http-target.ts';
import type { PolicyRequest, PolicyRule } from './policy.ts';

/** Host and path in the form that rules are matched against; absent where the request has none. */
export interface Target {
  readonly host?: string;
  readonly path?: string;
}

/** undefined: the request names a host or path that servers could read in different ways. */
function targetOf(request: PolicyRequest, notes: string[]): Target | undefined {
  const host = request.host === undefined ? '' : normaliseHost(request.host);
  const path = request.path === undefined ? '' : normalisePath(request.path);
  if (host === undefined) notes.push(`the host ${JSON.stringify(request.host)} cannot be read: denied`);
  if (path === undefined)
    notes.push(`the path ${JSON.stringify(request.path)} can be read in more than one way: denied`);
  if (host === undefined || path === undefined) return undefined;
  return { ...(host === '' ? {} : { host }), ...(path === '' ? {} : { path }) };
}

/** Why the rule does not match; undefined when it does. */
function mismatch(rule: PolicyRule, request: PolicyRequest, target: Target): string | undefined {
  const { match } = rule;
  const globs = [
    ['realm', match.realm, request.realm, '/'],
    ['resource', match.resource, request.resource, '/'],
    ['action', match.action, request.action, '.'],
    ['host', match.host?.toLowerCase(), target.host, '.'],
    ['path', match.path, target.path, '/'],
  ] as const;
  for (const [name, pattern, value, separator] of globs) {
    if (pattern === undefined) continue;
    if (value === undefined) return `the request has no ${name}`;
    if (!matchGlob(pattern, value, separator)) return `${name} ${JSON.stringify(value)} is not ${pattern}`;
  }
  const sensitivity = request.sensitivity ?? (request.purpose === 'action' ? 'critical' : 'sensitive');
  const sets = [
    ['method', match.httpMethods, request.httpMethod?.toUpperCase()],
    ['sensitivity', match.sensitivity, sensitivity],
    ['purpose', match.purpose, request.purpose],
  ] as const;
  for (const [name, allowed, value] of sets) {
    if (allowed === undefined) continue;
    if (value === undefined) return `the request has no ${name}`;
    if (!(allowed as readonly string[]).includes(value)) return `${name} ${value} is not one of ${allowed.join(', ')}`;
  }
  return undefined;
}

/** The first rule that matches, and in `notes` why the ones before did not. No target: nothing may match. */
export function findRule(
  rules: readonly PolicyRule[],
  request: PolicyRequest,
  notes: string[],
): { readonly rule: PolicyRule | undefined; readonly target: Target | undefined } {
  const target = targetOf(request, notes);
  if (target === undefined) return { rule: undefined, target };
  for (const rule of rules) {
    const name = rule.description === '' ? rule.id : `${rule.id} (${rule.description})`;
    const why = mismatch(rule, request, target);
    notes.push(why === undefined ? `${name} matches` : `${name} does not match: ${why}`);
    if (why === undefined) return { rule, target };
  }
  notes.push('no rule matches: the defaults decide');
  return { rule: undefined, target };
}
