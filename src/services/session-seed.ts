import type { SecretBox } from '#src/ports/runtime.ts';

/** Whose answer it is; the same must be given to read it. */
export interface SeedOwner {
  readonly realm: string;
  readonly subject: string;
  readonly requestId: string;
}

/** What an answer with a token is built from again when a request is repeated: sealed, since the token is a secret. */
export function sealSeed(secrets: SecretBox, owner: SeedOwner, parts: readonly string[]): string {
  const plain = Buffer.from(JSON.stringify(parts), 'utf8');
  return Buffer.from(secrets.seal(plain, bindingOf(owner))).toString('base64url');
}

/** Throws Fault(data-loss, INTEGRITY) if it was altered or is somebody else's. */
export function openSeed(secrets: SecretBox, owner: SeedOwner, seed: Uint8Array): readonly string[] {
  const sealed = Buffer.from(Buffer.from(seed).toString('utf8'), 'base64url');
  return JSON.parse(Buffer.from(secrets.open(sealed, bindingOf(owner))).toString('utf8')) as string[];
}

function bindingOf({ realm, subject, requestId }: SeedOwner) {
  return { purpose: 'session.request', realm, subject, id: requestId };
}
