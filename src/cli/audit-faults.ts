import type { ChainFault } from '../ports/audit.ts';

/** `audit verify` ends with one of these when something is wrong; the first fault that is found counts. */
export const FAULT_EXIT: Readonly<Record<ChainFault, number>> = {
  EDITED: 10,
  MISSING: 11,
  REORDERED: 12,
  TRUNCATED: 13,
  FORKED: 14,
  SIGNATURE: 15,
  UNREADABLE: 16,
  LINK: 17,
};

const MEANING: Readonly<Record<ChainFault, string>> = {
  EDITED: "a row's bytes do not give its hash, or a column was altered",
  MISSING: 'a row is missing',
  REORDERED: 'a row is not in its place',
  TRUNCATED: 'rows that were signed or anchored are cut off',
  FORKED: 'two rows claim one place, or a row is not the one that was signed',
  SIGNATURE: 'a signature does not hold, or its key is not trusted',
  UNREADABLE: 'not readable as an audit file or an export',
  LINK: 'the link to the beginning of the chain, or to the chain before, does not hold',
};

/** The table of exit codes, for the help. */
export function faultTable(): string {
  return Object.entries(FAULT_EXIT)
    .map(([fault, code]) => `  ${code}  ${fault.padEnd(10)}  ${MEANING[fault as ChainFault]}`)
    .join('\n');
}
