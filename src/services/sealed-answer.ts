import type { SecretBox } from '#src/ports/runtime.ts';

/** Whose answer it is; the same must be given to open it. */
export interface AnswerOwner {
  readonly realm: string;
  readonly subject: string;
  readonly requestId: string;
}

/** An answer that holds secrets, kept with its request id so that a repeat gets the same. JSON within. */
export function sealAnswer(box: SecretBox, owner: AnswerOwner, answer: unknown): string {
  const plain = Buffer.from(JSON.stringify(answer), 'utf8');
  return Buffer.from(box.seal(plain, bindingOf(owner))).toString('base64url');
}

/** Throws Fault(data-loss, INTEGRITY) if it was altered or is somebody else's. */
export function openAnswer(box: SecretBox, owner: AnswerOwner, seed: Uint8Array): unknown {
  const sealed = Buffer.from(Buffer.from(seed).toString('utf8'), 'base64url');
  return JSON.parse(Buffer.from(box.open(sealed, bindingOf(owner))).toString('utf8'));
}

function bindingOf({ realm, subject, requestId }: AnswerOwner) {
  return { purpose: 'request.answer', realm, subject, id: requestId };
}
