import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { headerHash, rowHash } from '#src/adapters/audit/row-hash.ts';
import type { ChainHeader } from '#src/ports/audit.ts';

/** A part behind its length, as the documentation of the format says. */
function framed(...parts: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

function sha256(...parts: readonly Buffer[]): string {
  return createHash('sha256').update(Buffer.concat(parts)).digest('hex');
}

const PREVIOUS = Buffer.alloc(32, 7);
const RECORD = Buffer.from('a record');

describe('the hash of a row', () => {
  it.each([1, 4_294_967_296, Number.MAX_SAFE_INTEGER])(
    'is made of all its parts, by their lengths: row %i',
    (number) => {
      const sequence = Buffer.alloc(8);
      sequence.writeBigUInt64BE(BigInt(number));
      expect(rowHash('chn_1', number, PREVIOUS, RECORD).toString('hex')).toBe(
        sha256(Buffer.from('sallyport-audit-v1\0'), framed('chn_1'), sequence, framed(PREVIOUS, RECORD)),
      );
    },
  );

  it('is the same for a record larger than its workspace', () => {
    const large = Buffer.alloc(100_000, 3);
    expect(rowHash('chn_1', 1, PREVIOUS, large).toString('hex')).toBe(
      sha256(
        Buffer.from('sallyport-audit-v1\0'),
        framed('chn_1'),
        Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]),
        framed(PREVIOUS, large),
      ),
    );
  });

  it('changes with the chain, the number, the row before and the record', () => {
    const hashes = [
      rowHash('chn_1', 1, PREVIOUS, RECORD),
      rowHash('chn_2', 1, PREVIOUS, RECORD),
      rowHash('chn_1', 2, PREVIOUS, RECORD),
      rowHash('chn_1', 1, Buffer.alloc(32, 8), RECORD),
      rowHash('chn_1', 1, PREVIOUS, Buffer.from('a recorD')),
    ].map((hash) => hash.toString('hex'));
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe('the hash of a beginning', () => {
  it('is made of all its parts, by their lengths', () => {
    const header: ChainHeader = {
      chainId: 'chn_2',
      parentChainId: 'chn_1',
      parentHeadHash: PREVIOUS,
      beginReason: 'damaged',
    };
    expect(headerHash(header).toString('hex')).toBe(
      sha256(Buffer.from('sallyport-audit-chain-v1\0'), framed('chn_2', 'chn_1', PREVIOUS, 'damaged')),
    );
  });
});
