/** The text of a TypeScript file in two reduced forms, so that rules can look for words without finding them in prose. */
export interface ReducedSource {
  /** Without comments. */
  readonly code: string;
  /** Without comments and without what stands in strings, templates (but not their `${}`) and regular expressions. */
  readonly bare: string;
}

/** A `/` after one of these begins a regular expression, not a division. */
const BEFORE_REGEX = /(?:^|[=(,:;!&|?{}[+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|yield|void|delete))\s*$/;

/** Reads strings, templates, regular expressions and comments, as far as telling them apart needs. */
export function reduceSource(source: string): ReducedSource {
  let code = '';
  let bare = '';
  let at = 0;
  /** For each open template, how many braces of its `${` are open. */
  const templates: number[] = [];
  const both = (text: string) => {
    code += text;
    bare += text;
  };
  const template = () => {
    while (at < source.length && source[at] !== '`' && !source.startsWith('${', at)) {
      if (source[at] === '\\') code += source[at++] ?? '';
      code += source[at++] ?? '';
    }
    if (source.startsWith('${', at)) {
      both('${');
      at += 2;
      templates.push(0);
    } else {
      both('`');
      at += 1;
    }
  };
  const literal = (end: string) => {
    both(source[at++] ?? '');
    let inClass = false;
    while (at < source.length && source[at] !== '\n' && (inClass || source[at] !== end)) {
      if (end === '/' && source[at] === '[') inClass = true;
      if (end === '/' && source[at] === ']') inClass = false;
      if (source[at] === '\\') code += source[at++] ?? '';
      code += source[at++] ?? '';
    }
    both(source[at++] ?? '');
  };
  while (at < source.length) {
    const char = source[at] ?? '';
    if (source.startsWith('//', at)) {
      while (at < source.length && source[at] !== '\n') at += 1;
    } else if (source.startsWith('/*', at)) {
      const end = source.indexOf('*/', at + 2);
      const comment = source.slice(at, end < 0 ? undefined : end + 2);
      both('\n'.repeat(comment.split('\n').length - 1));
      at += comment.length;
    } else if (char === "'" || char === '"') literal(char);
    else if (char === '/' && BEFORE_REGEX.test(bare.slice(-40))) literal('/');
    else if (char === '`') {
      both('`');
      at += 1;
      template();
    } else {
      const open = templates.length - 1;
      both(char);
      at += 1;
      if (open < 0) continue;
      if (char === '{') templates[open] = (templates[open] ?? 0) + 1;
      if (char === '}') {
        const depth = templates[open] ?? 0;
        if (depth > 0) templates[open] = depth - 1;
        else {
          templates.pop();
          template();
        }
      }
    }
  }
  return { code, bare };
}

export interface Import {
  readonly specifier: string;
  /** `type`: gone at run time. `lazy`: loaded when it is called. `url`: the file of a worker. */
  readonly kind: 'static' | 'type' | 'lazy' | 'url';
}

/** Every import of a file; give `code` of `reduceSource`. */
export function importsOf(code: string): readonly Import[] {
  const imports: Import[] = [];
  for (const [, type, specifier] of code.matchAll(
    /^(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]/gm,
  ))
    imports.push({ specifier: specifier ?? '', kind: type ? 'type' : 'static' });
  for (const [, specifier] of code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g))
    imports.push({ specifier: specifier ?? '', kind: 'lazy' });
  for (const [, specifier] of code.matchAll(/new URL\(\s*['"](\.[^'"]+\.ts)['"]/g))
    imports.push({ specifier: specifier ?? '', kind: 'url' });
  return imports;
}
