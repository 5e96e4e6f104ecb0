import type { SecretBox } from '#src/ports/runtime.ts';
import type { SubjectKey } from './contract.ts';

/**
 * A new person's key goes to disk with the first event sealed under it, sealed itself under the key ring, until the state
 * database has it: a crash between the two commits must not make an event unreadable.
 */
export function sealStash(key: SubjectKey, box: SecretBox): Uint8Array {
  const text = JSON.stringify({ ...key, key: Buffer.from(key.key).toString('base64url') });
  return box.seal(Buffer.from(text, 'utf8'), binding(key.ref));
}

/** Throws Fault(data-loss, INTEGRITY) if the row was altered. */
export function openStash(ref: string, sealed: Uint8Array, box: SecretBox): SubjectKey {
  const { realm, subject, key } = JSON.parse(Buffer.from(box.open(sealed, binding(ref))).toString('utf8'));
  return { realm: String(realm), subject: String(subject), ref, key: Buffer.from(String(key), 'base64url') };
}

export interface StashRow {
  readonly ref: string;
  readonly sealed: Uint8Array;
}

/** One person's fields are lost if nobody else has their key; that must not keep everybody else out. */
export function openStashes(
  rows: readonly StashRow[],
  box: SecretBox,
  onDamage: (detail: string) => void,
): readonly SubjectKey[] {
  return rows.flatMap(({ ref, sealed }) => {
    try {
      return [openStash(ref, sealed, box)];
    } catch {
      onDamage(`the stashed key of ${ref} cannot be opened`);
      return [];
    }
  });
}

function binding(ref: string) {
  return { purpose: 'audit.stashed-key', realm: '', subject: '', id: ref };
}
