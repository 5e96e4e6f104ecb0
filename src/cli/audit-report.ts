import type { Verdict } from '../ports/audit.ts';

/** What a verification found, for the person who asked. */
export interface Report {
  readonly verdict: Verdict;
  /** Sentences: what the verdict does not cover. */
  readonly notes: readonly string[];
  /** Among what was counted, for instance `in 3 chains `. */
  readonly where?: string;
}

export function inWords(verdict: Verdict, where = ''): string {
  const counted = `${verdict.rows} rows and ${verdict.checkpoints} checkpoints ${where}`.trimEnd();
  if (verdict.intact) return `intact: ${counted} hold\n`;
  const { fault, chainId, sequence, detail } = verdict;
  const place = sequence > 0 ? `first bad row: ${sequence}${chainId && ` of chain ${chainId}`}\n` : '';
  return `DAMAGED (${fault}): ${detail}\n${place}before it ${counted} hold\n`;
}
