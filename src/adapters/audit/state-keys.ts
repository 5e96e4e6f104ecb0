import SqliteDatabase from 'better-sqlite3';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { SubjectKey } from './contract.ts';
import type { PersonalKeys } from './reader.ts';

interface SubjectRow {
  readonly realm: string;
  readonly subject: string;
  readonly ref: string;
  readonly sealed_key: Uint8Array;
}

/**
 * The keys of persons in a state database that no sidecar has open, for looking at a trail offline. Throws the error of
 * SQLite when the file is missing or in use.
 */
export function openStateKeys(path: string, box: SecretBox): PersonalKeys & Disposable {
  const db = new SqliteDatabase(path, { readonly: true, fileMustExist: true });
  try {
    const byName = db.prepare<[string, string], SubjectRow>('SELECT * FROM subjects WHERE realm = ? AND subject = ?');
    const byRef = db.prepare<[string], SubjectRow>('SELECT * FROM subjects WHERE ref = ?');
    const open = (row: SubjectRow | undefined): SubjectKey | undefined => {
      if (!row) return undefined;
      const { realm, subject, ref, sealed_key } = row;
      return { realm, subject, ref, key: box.open(sealed_key, { purpose: 'subject.key', realm, subject, id: ref }) };
    };
    return {
      find: (realm, subject) => open(byName.get(realm, subject)),
      findByRef: (ref) => open(byRef.get(ref)),
      [Symbol.dispose]: () => void db.close(),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}
