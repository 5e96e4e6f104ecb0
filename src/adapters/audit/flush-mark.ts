import type { CheckpointKey } from '#src/ports/audit.ts';
import { type CheckpointSigner, isSigned } from './checkpoint-key.ts';
import type { FlushedThrough } from './contract.ts';

/**
 * Rows up to the mark may be gone from the file. It is signed, because whoever can write the file could otherwise take out rows that were never flushed and move the mark
 * behind them.
 */
export interface FlushMark extends FlushedThrough {
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export function signFlushMark(signer: CheckpointSigner, mark: FlushedThrough): FlushMark {
  return { ...mark, keyId: signer.key.keyId, signature: signer.sign(textOf(mark)) };
}

export function isFlushMarkSigned(mark: FlushMark, publicKey: CheckpointKey['publicKey']): boolean {
  return isSigned(textOf(mark), mark.signature, publicKey);
}

function textOf({ chainId, sequence, hash, anchored }: FlushedThrough): string {
  return `sallyport-flushed-v1\n${chainId}\n${sequence}\n${Buffer.from(hash).toString('hex')}\n${anchored}\n`;
}
