import { Fault } from '#src/domain/faults.ts';
import type { Verdict } from '#src/ports/audit.ts';
import { readAnchor } from './anchor.ts';
import type { ChainSource } from './chain-source.ts';
import type { Head } from './inspect.ts';
import { ChainVerifier, type KnownHead, UnreadableError } from './verify.ts';

const ITEMS_PER_STEP = 256;

/**
 * Verifies a file that is being written, up to the head of this moment, in small steps. Throws Fault(not-found,
 * EVENT_NOT_FOUND) for a chain that is not here.
 */
export function* verifyLive(
  source: ChainSource,
  head: Head,
  anchorFile: string,
  chainId: string,
): Generator<void, Verdict> {
  if (chainId !== '' && !source.chains().some((chain) => chain.chainId === chainId))
    throw new Fault('not-found', 'EVENT_NOT_FOUND', 'chain_id: there is no such chain in this trail');
  const { sequence } = head;
  const writer: KnownHead = { source: 'the writer', chainId: head.chainId, sequence, headHash: head.hash };
  const isHere = chainId === '' || chainId === head.chainId;
  const verifier = new ChainVerifier({ knownHeads: isHere ? [writer] : [] });
  try {
    let count = 0;
    for (const item of source.items(chainId, head.position)) {
      if (!verifier.push(item)) break;
      count += 1;
      if (count % ITEMS_PER_STEP === 0) yield;
    }
  } catch (error) {
    if (error instanceof UnreadableError) return verifier.unreadable(error.message);
    throw error;
  }
  const verdict = verifier.verdict();
  if (!verdict.intact || readAnchor(anchorFile) !== 'altered') return verdict;
  const detail = 'the anchor file was altered';
  return { ...verdict, intact: false, fault: 'SIGNATURE', chainId: head.chainId, sequence, detail };
}
