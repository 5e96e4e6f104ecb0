import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Checkpoint } from '#src/ports/audit.ts';
import { type CheckpointSigner, checkpointKeyId, isSigned } from './checkpoint-key.ts';

/** The file calls of the anchor, so that a test can make each of them fail. */
export const nodeFiles = { openSync, writeSync, fsyncSync, closeSync, renameSync };
export type Files = typeof nodeFiles;

/**
 * The newest head in a small file of its own: cutting rows and checkpoints out of the database alone then shows. Whoever
 * can write both files at once is beyond it; that takes an anchor on another machine.
 */
export interface Anchor {
  readonly chainId: string;
  readonly sequence: number;
  readonly position: number;
  readonly headHash: Uint8Array;
  readonly signedAt: number;
  /** After a clean end nothing follows the head; rows that do were not written by the sidecar. */
  readonly closed: boolean;
  readonly keyId: string;
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

export function anchorPath(auditPath: string): string {
  return auditPath.endsWith('.db') ? `${auditPath.slice(0, -3)}.anchor` : `${auditPath}.anchor`;
}

export function signAnchor(
  signer: CheckpointSigner,
  head: Pick<Checkpoint, 'chainId' | 'sequence' | 'headHash' | 'signedAt'> & Pick<Anchor, 'position' | 'closed'>,
): Anchor {
  return { ...head, ...signer.key, signature: signer.sign(anchorText(head)) };
}

function anchorText(anchor: Omit<Anchor, 'keyId' | 'publicKey' | 'signature'>): string {
  const { chainId, sequence, position, headHash, signedAt, closed } = anchor;
  const hash = Buffer.from(headHash).toString('hex');
  return `sallyport-anchor-v1\n${chainId}\n${sequence}\n${position}\n${hash}\n${signedAt}\n${closed}\n`;
}

/** Replaces the file in one step; durable when it returns. */
export function writeAnchor(path: string, anchor: Anchor, files: Files = nodeFiles): void {
  const text = JSON.stringify(
    {
      version: 1,
      ...anchor,
      headHash: Buffer.from(anchor.headHash).toString('base64url'),
      publicKey: Buffer.from(anchor.publicKey).toString('base64url'),
      signature: Buffer.from(anchor.signature).toString('base64url'),
    },
    undefined,
    2,
  );
  const temporary = `${path}.new`;
  const file = files.openSync(temporary, 'w', 0o600);
  try {
    files.writeSync(file, `${text}\n`);
    files.fsyncSync(file);
  } finally {
    files.closeSync(file);
  }
  files.renameSync(temporary, path);
  const folder = files.openSync(dirname(path), 'r');
  try {
    files.fsyncSync(folder);
  } finally {
    files.closeSync(folder);
  }
}

/**
 * 'absent', or 'altered' when it is no anchor, its signature does not hold, or it is by none of the trusted keys, where
 * they are known: anybody can sign a shorter trail with a key of their own. Throws when the file cannot be read.
 */
export function readAnchor(path: string, trustedKeyIds?: ReadonlySet<string>): Anchor | 'absent' | 'altered' {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'absent';
    throw error;
  }
  const anchor = parseAnchor(text);
  if (!anchor || checkpointKeyId(anchor.publicKey) !== anchor.keyId) return 'altered';
  if (trustedKeyIds && !trustedKeyIds.has(anchor.keyId)) return 'altered';
  return isSigned(anchorText(anchor), anchor.signature, anchor.publicKey) ? anchor : 'altered';
}

function parseAnchor(text: string): Anchor | undefined {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof data !== 'object' || data === null) return undefined;
  const { version, chainId, sequence, position, headHash, signedAt, closed, keyId, publicKey, signature } =
    data as Record<string, unknown>;
  if (version !== 1 || typeof closed !== 'boolean') return undefined;
  if (typeof sequence !== 'number' || typeof position !== 'number' || typeof signedAt !== 'number') return undefined;
  if (typeof chainId !== 'string' || typeof keyId !== 'string') return undefined;
  if (typeof headHash !== 'string' || typeof publicKey !== 'string' || typeof signature !== 'string') return undefined;
  return {
    chainId,
    sequence,
    position,
    headHash: Buffer.from(headHash, 'base64url'),
    signedAt,
    closed,
    keyId,
    publicKey: Buffer.from(publicKey, 'base64url'),
    signature: Buffer.from(signature, 'base64url'),
  };
}
