import {
  BACKUP_CODES,
  type BackupCode,
  newBackupCodes,
  parseBackupCode,
  printBackupCode,
} from '#src/domain/backup-code.ts';
import type { BackupCodeHash } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import { isSameBytes } from '#src/domain/same-bytes.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { BackupCodeSet, FactorStore } from '#src/ports/factor-store.ts';
import type { KeyedDigest, Random, SlowHash } from '#src/ports/runtime.ts';

const SALT_BYTES = 16;
const HASH_BYTES = 32;

export interface BackupCodeDependencies {
  readonly factors: Pick<FactorStore, 'findBackupCode'>;
  readonly digest: KeyedDigest;
  readonly slowHash: SlowHash;
  readonly random: Random;
}

/** Makes sets of backup codes and looks codes up. Stored is only a salted slow hash over a keyed digest. */
export class BackupCodeSets {
  readonly #deps: BackupCodeDependencies;
  readonly #nobody: BackupCodeHash;

  constructor(deps: BackupCodeDependencies) {
    this.#deps = deps;
    this.#nobody = {
      id: '',
      selector: '',
      salt: deps.random.bytes(SALT_BYTES),
      // Random, so that no code can lead to it.
      hash: deps.random.bytes(HASH_BYTES),
    };
  }

  /** A new set and its codes as the person sees them, this once. Takes one slow hash a code. */
  async make(
    realm: string,
    subject: string,
    now: EpochMs,
  ): Promise<{ readonly set: BackupCodeSet; readonly printed: readonly string[] }> {
    const { random } = this.#deps;
    const factorId = newId('factor', random.bytes(16));
    const codes = newBackupCodes((length) => random.bytes(length));
    const hashes = await Promise.all(
      codes.map(async (code): Promise<BackupCodeHash> => {
        const id = newId('code', random.bytes(16));
        const salt = random.bytes(SALT_BYTES);
        return { id, selector: code.selector, salt, hash: await this.#hash(realm, subject, id, code.secret, salt) };
      }),
    );
    const factor = {
      id: factorId,
      realm,
      subject,
      method: 'backup_code',
      displayName: '',
      state: 'ACTIVE',
      sealedSecret: new Uint8Array(),
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: now,
      expiresAt: now,
      confirmedAt: now,
      codesLeft: BACKUP_CODES,
    } as const;
    return { set: { factor, codes: hashes }, printed: codes.map(printBackupCode) };
  }

  /**
   * The unspent code that the person typed, or undefined. One look-up and one slow hash, whether the text is a code, is
   * somebody's, or nothing at all.
   */
  async find(
    realm: string,
    subject: string,
    typed: string,
  ): Promise<{ readonly codeId: string; readonly factorId: string } | undefined> {
    const code: BackupCode = parseBackupCode(typed) ?? { selector: '', secret: '' };
    const found = await this.#deps.factors.findBackupCode(realm, subject, code.selector);
    const stored = found ?? this.#nobody;
    const hash = await this.#hash(realm, subject, stored.id, code.secret, stored.salt);
    const same = isSameBytes(hash, stored.hash);
    return found && same ? { codeId: found.id, factorId: found.factorId } : undefined;
  }

  /** The row and the person are part of it, so that a hash is worth nothing in another row. */
  #hash(realm: string, subject: string, codeId: string, secret: string, salt: Uint8Array): Promise<Uint8Array> {
    const { digest, slowHash } = this.#deps;
    return slowHash.hash(digest.digest('backup_code', JSON.stringify([realm, subject, codeId, secret])), salt);
  }
}
