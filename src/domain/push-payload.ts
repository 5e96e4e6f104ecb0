/**
 * What a notification carries: enough to find what it is about, and nothing of it. No person, no action, no number: a
 * push service, or whoever reads a lock screen, learns nothing that is worth having.
 */
export interface PushPayload {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
}

/** UTF-8 JSON `{"v":1,"kind":"approval","challenge":…,"factor":…,"realm":…}`; under 1 KiB. */
export function pushPayload({ challengeId, factorId, realm }: PushPayload): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, kind: 'approval', challenge: challengeId, factor: factorId, realm }));
}
