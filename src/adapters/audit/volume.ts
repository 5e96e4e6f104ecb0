import { chmodSync, closeSync, existsSync, openSync } from 'node:fs';
import { basename } from 'node:path';
import SqliteDatabase, { type Database, type Options } from 'better-sqlite3';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import type { ChainFault, ChainHeader } from '#src/ports/audit.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import { type Anchor, anchorPath, readAnchor } from './anchor.ts';
import { isDamage } from './chain-source.ts';
import type { CheckpointSigner } from './checkpoint-key.ts';
import { type Head, type Inspection, inspect, type KnownGood } from './inspect.ts';
import { nextRow, rowInserter, type Tip } from './row.ts';
import { headerHash } from './row-hash.ts';
import { createSchema, layoutOf, SCHEMA_VERSION, upgradeSchema } from './schema.ts';
import { setAside } from './set-aside.ts';

/** The alarm that goes with a damaged file. */
export interface Damage {
  readonly fault: ChainFault;
  readonly detail: string;
  /** Where the damaged file was put; '' when there was none left. */
  readonly setAside: string;
  /** The chain that goes on, and the one it continues; '' if nothing of it is known. */
  readonly chainId: string;
  readonly parentChainId: string;
}

export interface VolumeOptions {
  readonly path: string;
  readonly signer: CheckpointSigner;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly onDamage: (damage: Damage) => void;
  /** Rows up to here must be there: the last position that the state database has applied. */
  readonly knownPosition?: number | undefined;
  readonly openDatabase?: ((path: string, options: Options) => Database) | undefined;
}

export interface Volume {
  readonly db: Database;
  readonly head: Head;
  readonly signedSequence: number;
  /** Damage beside the file, which is whole itself; the event of it is still to be written. */
  readonly damage?: Damage;
}

/**
 * Opens the audit file, or begins one. A damaged file is set aside, never deleted or continued, and a chain that links
 * to the last known good head begins in a new one. Throws what keeps the file from being reached, which is no damage.
 */
export function openVolume(options: VolumeOptions): Volume {
  const { path } = options;
  const anchorFile = anchorPath(path);
  const read = readAnchor(anchorFile);
  const anchor = typeof read === 'string' ? undefined : read;
  const aside = read === 'altered' ? setAside(anchorFile, options.clock.now()) : '';
  const found = look(options, anchor);
  if (found === 'new') return begin(options, 'first', undefined, undefined);
  if (found.ok) return resume(options, found, aside);
  return startOver(options, found, anchor);
}

function look(options: VolumeOptions, anchor: Anchor | undefined): Inspection | 'new' {
  const { path, knownPosition = 0 } = options;
  const isKnown = anchor !== undefined || knownPosition > 0;
  const missing = { ok: false, fault: 'TRUNCATED', detail: 'the file is gone or empty' } as const;
  if (!existsSync(path)) return isKnown ? missing : 'new';
  // Read-only first: closing a connection that may write would fold the log into the file and blur the evidence.
  const db = open(options, { readonly: true, fileMustExist: true });
  try {
    if (isEmpty(db)) return isKnown ? missing : 'new';
    const version = layoutOf(db);
    if (version > SCHEMA_VERSION)
      throw new Error(`${path} was written by a newer sallyport (layout ${version}); run that one`);
    return inspect(db, anchor, knownPosition);
  } catch (error) {
    if (isDamage(error)) return { ok: false, fault: 'UNREADABLE', detail: `the file is damaged: ${error.message}` };
    throw error;
  } finally {
    db.close();
  }
}

/** A crash right at the creation leaves a file without tables. */
function isEmpty(db: Database): boolean {
  return db.prepare('SELECT 1 FROM sqlite_master LIMIT 1').get() === undefined;
}

function resume(options: VolumeOptions, found: Extract<Inspection, { ok: true }>, anchorAside: string): Volume {
  const { head, signedSequence } = found;
  const db = openToWrite(options);
  try {
    upgradeSchema(db);
  } catch (error) {
    db.close();
    throw error;
  }
  const volume = { db, head, signedSequence };
  if (anchorAside === '') return volume;
  const damage: Damage = {
    fault: 'SIGNATURE',
    detail: 'the anchor file was altered',
    setAside: anchorAside,
    chainId: head.chainId,
    parentChainId: '',
  };
  options.onDamage(damage);
  return { ...volume, damage };
}

/** Sets the file aside and begins a chain that links to the newest head that is known. */
export function startOver(
  options: VolumeOptions,
  found: Extract<Inspection, { ok: false }>,
  anchor: Anchor | undefined,
): Volume {
  const { path, clock, onDamage, knownPosition = 0 } = options;
  const known = [found.lastGood, anchor].filter((head) => head !== undefined);
  const parent = known.toSorted((left, right) => right.position - left.position)[0];
  const aside = existsSync(path) ? setAside(path, clock.now()) : '';
  const floor = Math.max(parent?.position ?? 0, knownPosition);
  const volume = begin(options, 'recovered', parent && { ...parent, position: floor }, { ...found, setAside: aside });
  onDamage({
    fault: found.fault,
    detail: found.detail,
    setAside: aside,
    chainId: volume.head.chainId,
    parentChainId: parent?.chainId ?? '',
  });
  return volume;
}

/** The layout, the chain, its key and its first events, in one transaction: there is no chain without rows. */
function begin(
  options: VolumeOptions,
  beginReason: 'first' | 'recovered',
  parent: KnownGood | undefined,
  damage: Pick<Damage, 'fault' | 'detail' | 'setAside'> | undefined,
): Volume {
  const { random, signer, knownPosition = 0 } = options;
  const header: ChainHeader = {
    chainId: newId('chain', random.bytes(16)),
    parentChainId: parent?.chainId ?? '',
    parentHeadHash: parent?.headHash ?? new Uint8Array(),
    beginReason,
  };
  const before = parent?.position ?? knownPosition;
  const facts = { parent_chain: header.parentChainId, checkpoint_key: signer.key.keyId };
  const drafts = [ownEvent(options, 'audit.chain_started', { outcome: 'INFO', reason: beginReason, facts })];
  if (damage) drafts.push(damageEvent(options, damage));
  const db = openToWrite(options);
  let tip: Tip = { position: before, sequence: 0, hash: headerHash(header) };
  try {
    db.transaction(() => {
      createSchema(db);
      db.prepare('INSERT INTO chains VALUES (1, ?, ?, ?, ?, ?)').run(
        header.chainId,
        header.parentChainId,
        header.parentHeadHash,
        beginReason,
        before + 1,
      );
      db.prepare('INSERT INTO checkpoint_keys VALUES (?, ?)').run(signer.key.keyId, signer.key.publicKey);
      const insert = rowInserter(db);
      for (const event of drafts) {
        const row = nextRow(header.chainId, tip, event, undefined, random);
        insert(1, row);
        tip = row;
      }
    }).immediate();
  } catch (error) {
    db.close();
    throw error;
  }
  const { position, sequence, hash } = tip;
  const chain = { ...header, chain: 1, firstPosition: before + 1 };
  return { db, head: { position, sequence, hash, chainId: header.chainId, chain }, signedSequence: 0 };
}

/** An event of the trail itself. */
export function ownEvent(
  { clock, random }: Pick<VolumeOptions, 'clock' | 'random'>,
  type: EventType,
  fields: Pick<EventDraft, 'outcome' | 'reason' | 'facts'>,
): EventDraft {
  return { id: newId('event', random.bytes(16)), type, at: clock.now(), realm: '', caller: 'sidecar', ...fields };
}

export function damageEvent(
  options: Pick<VolumeOptions, 'clock' | 'random'>,
  damage: Pick<Damage, 'fault' | 'detail' | 'setAside'>,
): EventDraft {
  const facts = { detail: damage.detail, set_aside: basename(damage.setAside) };
  return ownEvent(options, 'audit.chain_damaged', { outcome: 'FAILED', reason: damage.fault, facts });
}

function openToWrite(options: VolumeOptions): Database {
  // For its owner alone from the first byte on; SQLite gives the log beside it the same mode.
  closeSync(openSync(options.path, 'a', 0o600));
  chmodSync(options.path, 0o600);
  const db = open(options, {});
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('fullfsync = ON');
    db.pragma('trusted_schema = OFF');
    db.pragma('secure_delete = ON');
    db.pragma(`journal_size_limit = ${16 * 1024 * 1024}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function open({ path, openDatabase }: VolumeOptions, settings: Options): Database {
  const all = { ...settings, timeout: 1_000 };
  return openDatabase ? openDatabase(path, all) : new SqliteDatabase(path, all);
}
