import { hash } from 'node:crypto';
import type { ChainHeader } from '#src/ports/audit.ts';

const ROW_CONTEXT = 'sallyport-audit-v1\0';
const workspace = Buffer.allocUnsafe(64 * 1024);
const HEADER_CONTEXT = 'sallyport-audit-chain-v1\0';

/**
 * SHA-256 of a row: the context, then chain id, sequence, the hash of the row before and the record, each but the sequence
 * (8 bytes, big-endian) behind its length (4 bytes, big-endian). So no two rows share an encoding.
 */
export function rowHash(chainId: string, sequence: number, previousHash: Uint8Array, record: Uint8Array): Buffer {
  const idLength = Buffer.byteLength(chainId, 'utf8');
  const size = ROW_CONTEXT.length + 4 + idLength + 8 + 4 + previousHash.length + 4 + record.length;
  // Hashed before anybody else runs, so one piece of memory serves all.
  const text = size <= workspace.length ? workspace : Buffer.allocUnsafe(size);
  let at = text.write(ROW_CONTEXT, 0, 'latin1');
  at = text.writeUInt32BE(idLength, at);
  at += text.write(chainId, at, 'utf8');
  at = writeSequence(text, at, sequence);
  at = text.writeUInt32BE(previousHash.length, at);
  text.set(previousHash, at);
  at = text.writeUInt32BE(record.length, at + previousHash.length);
  text.set(record, at);
  return hash('sha256', text.subarray(0, size), 'buffer');
}

/** Eight bytes; all ones for what is no sequence at all. */
function writeSequence(text: Buffer, at: number, sequence: number): number {
  const isWhole = Number.isSafeInteger(sequence) && sequence >= 0;
  const next = text.writeUInt32BE(isWhole ? Math.floor(sequence / 2 ** 32) : 0xffff_ffff, at);
  return text.writeUInt32BE(isWhole ? sequence % 2 ** 32 : 0xffff_ffff, next);
}

/** What the first row of a chain links to: the digest of how the chain began, so an altered beginning shows. */
export function headerHash(header: ChainHeader): Buffer {
  const parts = [header.chainId, header.parentChainId, header.parentHeadHash, header.beginReason].map((part) =>
    Buffer.from(part),
  );
  const framed = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return hash('sha256', Buffer.concat([Buffer.from(HEADER_CONTEXT, 'latin1'), ...framed]), 'buffer');
}

export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
