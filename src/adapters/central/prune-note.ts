import { type CheckpointSigner, isSigned } from '#src/adapters/audit/checkpoint-key.ts';
import type { PruneNote } from './central-chains.ts';

/** Signs that the rows of a chain up to this one were taken out by whoever holds the key of the checkpoints. */
export function signPrune(
  signer: CheckpointSigner,
  end: Pick<PruneNote, 'chainId' | 'sequence' | 'headHash' | 'prunedAt'>,
): PruneNote {
  return { ...end, keyId: signer.key.keyId, signature: signer.sign(pruneText(end)) };
}

export function isPruneSigned(note: PruneNote, publicKey: Uint8Array): boolean {
  return isSigned(pruneText(note), note.signature, publicKey);
}

function pruneText(note: Pick<PruneNote, 'chainId' | 'sequence' | 'headHash' | 'prunedAt'>): string {
  const { chainId, sequence, headHash, prunedAt } = note;
  return `sallyport-prune-v1\n${chainId}\n${sequence}\n${Buffer.from(headHash).toString('hex')}\n${prunedAt}\n`;
}
