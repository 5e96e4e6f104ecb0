/**
 * Wildcard matching in time of at most |pattern| · |text|: a wildcard first takes nothing, and on a mismatch the last
 * one takes one more. Going back to the last one alone is enough, since an earlier one could not do better.
 */
function wildcard(
  patternLength: number,
  textLength: number,
  isWild: (p: number) => boolean,
  fits: (p: number, t: number) => boolean,
): boolean {
  let p = 0;
  let t = 0;
  let wildAt = -1;
  let taken = 0;
  while (t < textLength) {
    if (p < patternLength && isWild(p)) {
      wildAt = p;
      taken = t;
      p += 1;
    } else if (p < patternLength && fits(p, t)) {
      p += 1;
      t += 1;
    } else if (wildAt >= 0) {
      taken += 1;
      t = taken;
      p = wildAt + 1;
    } else return false;
  }
  while (p < patternLength && isWild(p)) p += 1;
  return p === patternLength;
}

function matchSegment(pattern: string, text: string): boolean {
  if (!pattern.includes('*')) return pattern === text;
  return wildcard(
    pattern.length,
    text.length,
    (p) => pattern[p] === '*',
    (p, t) => pattern[p] === text[t],
  );
}

/**
 * Whether the whole text matches. `*` stands for any characters within a segment, none too; a segment `**` for any
 * number of segments, none too. Case matters. Nothing can be escaped.
 */
export function matchGlob(pattern: string, text: string, separator: '/' | '.'): boolean {
  const patterns = pattern.split(separator);
  const texts = text.split(separator);
  return wildcard(
    patterns.length,
    texts.length,
    (p) => patterns[p] === '**',
    (p, t) => matchSegment(patterns[p] ?? '', texts[t] ?? ''),
  );
}
