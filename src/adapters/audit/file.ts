import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { BufferStatus, EventFilter, Verdict } from '#src/ports/audit.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import { anchorPath, type Files, signAnchor, writeAnchor } from './anchor.ts';
import { sqliteCode } from './chain-source.ts';
import { CheckpointSigner } from './checkpoint-key.ts';
import type { AuditFile, AuditPosition, SubjectKey, SubjectKeys } from './contract.ts';
import { claimsEffect } from './effects.ts';
import { type ExportRange, exportPage } from './export-page.ts';
import type { Head } from './inspect.ts';
import { KeyStash } from './key-stash.ts';
import { isPersonal, parseRecord } from './record.ts';
import { nextRow, ROW_OVERHEAD_BYTES, type Row, type Tip } from './row.ts';
import { type PreparedStatements, prepareStatements } from './statements.ts';
import { truncateLog } from './truncate-log.ts';
import { unavailable } from './unavailable.ts';
import { verifyLive } from './verify-live.ts';
import { damageEvent, openVolume, ownEvent, type Volume, type VolumeOptions } from './volume.ts';

/** Rows after which a commit signs its head by itself, so that the quick check at start never reads more. */
const ROWS_PER_CHECKPOINT = 8_192;
/** With less than this left, large events are refused already: nobody should send grants here any more. */
const LAST_BYTES = 16 * 1024;
const MAX_UNCONFIRMED = 10_000;

export interface AuditFileOptions extends Omit<VolumeOptions, 'signer'> {
  readonly subjectKeys: SubjectKeys;
  /** 32 bytes; the Ed25519 key of checkpoints is made of it. */
  readonly checkpointSeed: Uint8Array;
  /** Seals subject keys that wait here for the state database. */
  readonly box: SecretBox;
  /** Size of the file at which nothing more is taken. */
  readonly maxBytes: number;
  readonly files?: Files | undefined;
}

/**
 * Opens the hash-chained file at `path`, with `audit.anchor` beside `audit.db`. Throws when it cannot be reached; damage
 * is no reason to throw (volume.ts).
 */
export function openAuditFile(options: AuditFileOptions): AuditFile {
  return new SqliteAuditFile(options);
}

export class SqliteAuditFile implements AuditFile {
  protected readonly options: AuditFileOptions;
  protected readonly signer: CheckpointSigner;
  #volume: Volume;
  protected parts: PreparedStatements;
  /** The last durable row. */
  protected present: Head;
  /** The last staged row. */
  #tip: Tip;
  #staged: Row[] = [];
  #stagedBytes = 0;
  protected usedBytes = 0;
  #accepted = 0;
  protected signedSequence: number;
  /** Keys that the state database, or central storage, may not have. */
  protected readonly stash: KeyStash;
  /** 'full': try again as it is. 'broken': look at the file anew before anything else. */
  #trouble: 'none' | 'full' | 'broken' = 'none';
  #closed = false;

  constructor(options: AuditFileOptions) {
    this.options = options;
    this.signer = new CheckpointSigner(options.checkpointSeed);
    this.stash = new KeyStash({
      box: options.box,
      onDamage: (detail) => {
        const { chainId } = this.present;
        options.onDamage({ fault: 'UNREADABLE', detail, setAside: '', chainId, parentChainId: '' });
      },
    });
    this.#volume = openVolume({ ...options, signer: this.signer });
    try {
      this.parts = this.#prepare();
      this.present = this.#volume.head;
      this.#tip = this.present;
      this.signedSequence = this.#volume.signedSequence;
      this.#adopt();
    } catch (error) {
      this.#volume.db.close();
      throw error;
    }
  }

  stage(events: readonly EventDraft[]): void {
    this.ready();
    const { subjectKeys, random, maxBytes } = this.options;
    const rows: Row[] = [];
    const keys: SubjectKey[] = [];
    let tip = this.#tip;
    let bytes = this.#stagedBytes;
    for (const event of events) {
      const key = isPersonal(event) ? subjectKeys.of(event.realm, event.subject ?? '') : undefined;
      if (key?.isNew && this.stash.isWanted(key.ref)) keys.push(key);
      const row = nextRow(this.present.chainId, tip, event, key, random);
      bytes += row.record.length + ROW_OVERHEAD_BYTES;
      rows.push(row);
      tip = row;
    }
    if (this.usedBytes + bytes > maxBytes) throw unavailable('the audit trail has reached its bound');
    for (const row of rows) this.#staged.push(row);
    this.stash.stage(keys);
    this.#stagedBytes = bytes;
    this.#tip = tip;
  }

  commit(): AuditPosition {
    if (this.#staged.length === 0) return this.head();
    const last = this.#tip;
    const { position, sequence, hash } = last;
    const due = sequence - this.signedSequence >= ROWS_PER_CHECKPOINT;
    this.write(() => {
      for (const row of this.#staged) this.parts.insertRow(this.present.chain.chain, row);
      this.stash.write(this.parts, position);
      if (due) this.sign({ position, sequence, hash }, this.options.clock.now());
    });
    this.#accepted += this.#staged.length;
    this.present = { ...this.present, position, sequence, hash };
    if (due) this.signedSequence = sequence;
    this.stash.written();
    this.measure();
    this.rollback();
    return this.head();
  }

  rollback(): void {
    this.#staged = [];
    this.stash.rollback();
    this.#stagedBytes = 0;
    this.#tip = this.present;
  }

  head(): AuditPosition {
    const { position, chainId, sequence } = this.present;
    return { position, chainId, sequence };
  }

  eventIdsAfter(after: number, upTo = Number.MAX_SAFE_INTEGER) {
    const rows = this.parts.recordsAfter.all(after, upTo, MAX_UNCONFIRMED);
    return rows.flatMap(({ position, record }) => {
      const { id, type, realm, correlationId } = parseRecord(record);
      return claimsEffect(type) ? [{ position, id, type, realm, correlationId }] : [];
    });
  }

  /** Also what brings a file back that could not be written: it is tried with every checkpoint that is due. Never throws. */
  checkpoint(now: number): void {
    try {
      this.ready();
      if (this.#trouble === 'none' && this.present.sequence === this.signedSequence) return;
      this.#seal(now, false);
    } catch {
      // `status()` says so, and the next checkpoint tries again.
    }
  }

  query(filter: EventFilter, limit: number, before = Number.MAX_SAFE_INTEGER) {
    const from = this.parts.firstPosition();
    return this.parts.reader.newest(filter, limit, from, Math.min(before, this.present.position + 1));
  }

  after(filter: EventFilter, position: number, limit: number) {
    const after = Math.max(position, this.parts.firstPosition() - 1);
    return this.parts.reader.oldest(filter, limit, after, this.present.position);
  }

  verify(chainId: string): Verdict {
    const steps = this.verifying(chainId);
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
    }
  }

  verifying(chainId: string): Generator<void, Verdict> {
    return verifyLive(this.parts.source, this.present, anchorPath(this.options.path), chainId);
  }

  exportPage(range: ExportRange, cursor: string) {
    // What is exported should be signed to its end, so that a shortened copy shows.
    if (cursor === '') this.checkpoint(this.options.clock.now());
    return exportPage(this.parts.source, range, cursor, this.present.position);
  }

  status(): BufferStatus {
    const { maxBytes } = this.options;
    const { chainId, sequence } = this.present;
    return {
      chainId,
      accepted: this.#accepted,
      durableSequence: sequence,
      flushedSequence: sequence,
      anchoredSequence: this.signedSequence,
      bytes: this.usedBytes,
      maxBytes,
      writable: !this.#closed && this.#trouble === 'none' && this.usedBytes + LAST_BYTES <= maxBytes,
    };
  }

  stashedKeys(): readonly SubjectKey[] {
    return this.stash.all(this.parts);
  }

  dropStashedKeys(): void {
    this.stash.dropThrough(this.present.position);
  }

  forgetKeys(refs: readonly string[]): void {
    this.stash.forget(refs);
  }

  scrub(): boolean {
    return !this.#closed && this.#trouble === 'none' && truncateLog(this.#volume.db);
  }

  close(): void {
    if (this.#closed) return;
    this.rollback();
    try {
      if (this.#trouble !== 'broken') this.#seal(this.options.clock.now(), true);
    } catch {
      // The rows are durable; without the last signature the next start only checks a few more of them.
    }
    this.#closed = true;
    this.#volume.db.close();
  }

  /** What a start writes: first that the file is open, then a key that is new to it and what was found beside it. */
  #adopt(): void {
    const { clock } = this.options;
    const { key } = this.signer;
    const { damage } = this.#volume;
    this.measure();
    this.#anchor(clock.now(), false);
    this.stash.adopt(this.parts);
    const isNewKey = !this.parts.source.keys().some(({ keyId }) => keyId === key.keyId);
    const facts = { use: 'checkpoint', key_id: key.keyId };
    const events = [
      ...(damage ? [damageEvent(this.options, damage)] : []),
      ...(isNewKey ? [ownEvent(this.options, 'key.created', { outcome: 'SUCCESS', facts })] : []),
    ];
    this.write(() => {
      if (isNewKey) this.parts.addKey.run(key.keyId, key.publicKey);
      for (const event of events) {
        const row = nextRow(this.present.chainId, this.#tip, event, undefined, this.options.random);
        this.parts.insertRow(this.present.chain.chain, row);
        this.#tip = row;
      }
    });
    const { position, sequence, hash } = this.#tip;
    this.present = { ...this.present, position, sequence, hash };
    this.#tip = this.present;
    this.#seal(clock.now(), false);
  }

  /** Signs the head in the file, then in the anchor. */
  #seal(now: number, closed: boolean): void {
    const head = this.present;
    this.write(() => this.sign(head, now));
    this.signedSequence = head.sequence;
    this.#anchor(now, closed);
  }

  #anchor(signedAt: number, closed: boolean): void {
    const { path, files } = this.options;
    const { chainId, sequence, position, hash: headHash } = this.present;
    const head = { chainId, sequence, position, headHash, signedAt, closed };
    writeAnchor(anchorPath(path), signAnchor(this.signer, head), files);
  }

  protected sign(head: Tip, signedAt: number): void {
    const { chainId, chain } = this.present;
    const made = this.signer.checkpoint({ chainId, sequence: head.sequence, headHash: head.hash, signedAt });
    this.parts.insertCheckpoint.run(chain.chain, made.sequence, made.keyId, made.headHash, signedAt, made.signature);
  }

  /** One transaction. On a throw nothing of it happened and nothing stays staged. */
  protected write(work: () => void): void {
    const { db } = this.#volume;
    const { begin, commit, undo } = this.parts;
    try {
      begin.run();
      work();
      commit.run();
      this.#trouble = 'none';
    } catch (cause) {
      // A full disk leaves the file as it was. After anything else what is on disk is not certain.
      this.#trouble = sqliteCode(cause) === 'SQLITE_FULL' ? 'full' : 'broken';
      try {
        if (db.inTransaction) undo.run();
      } catch {
        this.#trouble = 'broken';
      }
      this.rollback();
      throw unavailable('the audit trail cannot be written', cause);
    }
  }

  protected ready(): void {
    if (this.#closed) throw unavailable('the audit trail is closed');
    if (this.#trouble !== 'broken') return;
    // Staged rows link to a head that may not be the one on disk.
    if (this.#staged.length > 0) throw unavailable('the audit trail cannot be written');
    this.reopen(openVolume);
  }

  /** Looks at the file anew, or begins another. */
  protected reopen(open: (options: VolumeOptions) => Volume): void {
    try {
      this.#volume.db.close();
      this.#volume = open({ ...this.options, signer: this.signer, knownPosition: this.present.position });
      this.parts = this.#prepare();
      this.present = this.#volume.head;
      this.#tip = this.present;
      this.signedSequence = this.#volume.signedSequence;
      this.#adopt();
      this.#trouble = 'none';
    } catch (cause) {
      this.#trouble = 'broken';
      throw cause instanceof Fault ? cause : unavailable('the audit trail cannot be opened', cause);
    }
  }

  #prepare(): PreparedStatements {
    const { db, head } = this.#volume;
    return prepareStatements(db, this.options.subjectKeys, head.chain);
  }

  /** The batch is durable by now, so failing to see how large the file is must not say otherwise. */
  protected measure(): void {
    try {
      this.usedBytes = this.parts.usedBytes();
    } catch {
      this.usedBytes += this.#stagedBytes;
    }
  }
}
