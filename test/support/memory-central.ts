import type {
  Backlog,
  CentralSubjectKeys,
  FlushSource,
  FlushTarget,
  SubjectKey,
} from '#src/adapters/audit/contract.ts';
import { type VerifyOptions, verifyItems } from '#src/adapters/audit/verify.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { Fault } from '#src/domain/faults.ts';
import { base32 } from '#src/domain/ids.ts';
import type { ChainHeader, ChainRow, Checkpoint, ExportItem, Verdict } from '#src/ports/audit.ts';
import { TEST_RING } from './local-stores.ts';

interface Chain {
  readonly header: ChainHeader;
  readonly rows: Map<number, ChainRow>;
  readonly checkpoints: Map<string, Checkpoint>;
}

/** Central storage in memory: what was flushed there, and the keys of persons. It can be away, or never answer. */
export class MemoryCentral implements FlushTarget, CentralSubjectKeys {
  readonly chains = new Map<string, Chain>();
  readonly checkpointKeys = new Map<string, Uint8Array>();
  readonly subjectKeys = new Map<string, SubjectKey>();
  /** How often each person's key was asked for. */
  readonly asked: string[] = [];
  condition: 'up' | 'down' | 'frozen' = 'up';
  readonly #box = new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom });

  async store(backlog: Backlog): ReturnType<FlushTarget['store']> {
    await this.#reach();
    for (const { chainId, sequence, hash } of backlog.rows) {
      const there = this.chains.get(chainId)?.rows.get(sequence);
      if (there && Buffer.compare(there.hash, hash) !== 0) return { outcome: 'clash', chainId, sequence };
    }
    for (const { realm, subject, ref, sealed } of backlog.subjectKeys) {
      const key = this.#box.open(sealed, { purpose: 'subject.key', realm, subject, id: ref });
      this.subjectKeys.set(ref, { realm, subject, ref, key });
    }
    for (const { keyId, publicKey } of backlog.keys) this.checkpointKeys.set(keyId, publicKey);
    for (const header of backlog.chains)
      if (!this.chains.has(header.chainId))
        this.chains.set(header.chainId, { header, rows: new Map(), checkpoints: new Map() });
    for (const row of backlog.rows) this.#chain(row.chainId).rows.set(row.sequence, row);
    for (const checkpoint of backlog.checkpoints) {
      const { chainId, sequence, keyId } = checkpoint;
      this.#chain(chainId).checkpoints.set(`${sequence} ${keyId}`, checkpoint);
    }
    return { outcome: 'stored' };
  }

  async head(chainId: string) {
    await this.#reach();
    const last = [...(this.chains.get(chainId)?.rows.values() ?? [])].at(-1);
    return { sequence: last?.sequence ?? 0, hash: last?.hash ?? new Uint8Array() };
  }

  async of(realm: string, subject: string): Promise<SubjectKey> {
    this.asked.push(subject);
    await this.#reach();
    for (const key of this.subjectKeys.values()) if (key.realm === realm && key.subject === subject) return key;
    const key = { realm, subject, ref: base32(systemRandom.bytes(16)), key: systemRandom.bytes(32) };
    this.subjectKeys.set(key.ref, key);
    return key;
  }

  async findByRefs(refs: readonly string[]) {
    await this.#reach();
    return new Map([...this.subjectKeys].filter(([ref]) => refs.includes(ref)));
  }

  async refsOf(realm: string, subject: string) {
    await this.#reach();
    const own = [...this.subjectKeys.values()].filter((key) => key.realm === realm && key.subject === subject);
    return own.map(({ ref }) => ref);
  }

  async destroy(refs: readonly string[]) {
    await this.#reach();
    for (const ref of refs) this.subjectKeys.delete(ref);
  }

  get rowCount(): number {
    return [...this.chains.values()].reduce((sum, { rows }) => sum + rows.size, 0);
  }

  verify(options: VerifyOptions = {}): Verdict {
    return verifyItems(this.#items(), options);
  }

  *#items(): Generator<ExportItem> {
    for (const [keyId, publicKey] of this.checkpointKeys) yield { kind: 'key', key: { keyId, publicKey } };
    for (const { header, rows, checkpoints } of this.chains.values()) {
      yield { kind: 'chain', chain: header };
      for (const row of rows.values()) {
        yield { kind: 'row', row };
        for (const checkpoint of checkpoints.values())
          if (checkpoint.sequence === row.sequence) yield { kind: 'checkpoint', checkpoint };
      }
    }
  }

  #chain(chainId: string): Chain {
    const chain = this.chains.get(chainId);
    if (!chain) throw new Error(`a backlog without the header of ${chainId}`);
    return chain;
  }

  async #reach(): Promise<void> {
    if (this.condition === 'frozen') await new Promise(() => {});
    await new Promise((resolve) => setImmediate(resolve));
    if (this.condition === 'down') throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'central storage is away');
  }
}

/** Flushes until nothing waits; answers how many rows that were. */
export async function flushAll(source: FlushSource, target: FlushTarget, limit = 1_000): Promise<number> {
  let rows = 0;
  for (;;) {
    const backlog = await source.backlog(limit);
    if (backlog.rows.length === 0 && backlog.checkpoints.length === 0) return rows;
    const stored = await target.store(backlog);
    if (stored.outcome === 'clash') throw new Error(`row ${stored.sequence} clashes`);
    await source.flushed(backlog);
    rows += backlog.rows.length;
  }
}
