/** Edits (insert, delete, replace, swap of neighbours) between two words; for words of a few dozen characters. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const line = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let best = Math.min(
        (above[column] ?? 0) + 1,
        (line[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        best = Math.min(best, (before[column - 2] ?? 0) + 1);
      line.push(best);
    }
    before = above;
    above = line;
  }
  return above[b.length] ?? 0;
}

/** The candidate that `word` most likely stands for, or undefined when nothing is close. Case and `-`/`_` do not matter. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll('-', '_');
  const wanted = plain(word.slice(0, 100));
  let best: string | undefined;
  let least = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of candidates) {
    const other = plain(candidate);
    const within = wanted.startsWith(other) || other.startsWith(wanted) || other.includes(`_${wanted}`);
    const cut = Math.min(wanted.length, other.length) >= 3 && within;
    const edits = cut ? 1 : distance(wanted, other);
    if (edits < least && edits < candidate.length) {
      best = candidate;
      least = edits;
    }
  }
  return best;
}
