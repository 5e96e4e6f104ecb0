import { createHash } from 'node:crypto';

export type Sensitivity = 'low' | 'normal' | 'sensitive' | 'critical';
export const SENSITIVITIES: readonly Sensitivity[] = ['low', 'normal', 'sensitive', 'critical'];

/** What is to be approved. */
export interface Action {
  readonly resource: string;
  readonly action: string;
  readonly details: ReadonlyMap<string, string>;
}

/**
 * SHA-256 over the canonical form of {realm, subject, resource, action, details}: each part as UTF-8 with its length in
 * front, details sorted by the bytes of their keys. Nothing is normalised, so another spelling is another action.
 * Returns `sha-256:` and 43 characters of base64url.
 */
export function actionDigest(realm: string, subject: string, action: Action): string {
  const hash = createHash('sha256');
  const part = (text: string) => {
    const bytes = Buffer.from(text, 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  for (const text of ['sallyport-action-v1', realm, subject, action.resource, action.action]) part(text);
  const details = [...action.details].map(([key, value]) => [Buffer.from(key, 'utf8'), value] as const);
  details.sort(([a], [b]) => Buffer.compare(a, b));
  part(String(details.length));
  for (const [key, value] of details) {
    part(key.toString('utf8'));
    part(value);
  }
  return `sha-256:${hash.digest('base64url')}`;
}
