import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Backlog, FlushedFile, FlushedThrough } from '#src/adapters/audit/contract.ts';
import { openFlushedFile } from '#src/adapters/audit/flushed-file.ts';
import { unavailable } from '#src/adapters/audit/unavailable.ts';
import { deriveSeed } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import type { ChainRow } from '#src/ports/audit.ts';
import { BacklogKeys } from './backlog-keys.ts';
import { DirectoryLock } from './directory-lock.ts';
import { ErasedPersons } from './erased-persons.ts';
import { verifyInSteps } from './local-audit-log.ts';
import { processMs, type TrailSettings } from './protocol.ts';
import { ProvidedKeys } from './provided-keys.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';
import { openStateFile } from './state-file.ts';
import { SqliteSubjectKeys } from './subject-keys.ts';
import { TrailMark } from './trail-mark.ts';
import type { TrailPort } from './trail-port.ts';
import { TrailRelease } from './trail-release.ts';
import { TrailWriter } from './trail-writer.ts';
import type { WorkerStorage, WorkerStorageOptions } from './worker-storage.ts';

/** How often the next start is told what is confirmed, if that changed. */
const MARK_MS = 250;
/** Rows that are read before others get their turn. */
const ROWS_PER_STEP = 128;
const MAX_PAST_KEYS = 1_024;

interface Parts {
  readonly audit: FlushedFile;
  readonly keys: ProvidedKeys;
  readonly backlogKeys: BacklogKeys;
  readonly writer: TrailWriter;
  readonly release: TrailRelease;
  readonly erased: ErasedPersons;
}

/**
 * Opens the trail of a sidecar whose state is elsewhere, in the thread that owns the files: audit.db, and of state.db the
 * marks. Names what a crash left without a word how it ended. Throws Fault when it may not or cannot.
 */
export async function openWorkerTrail(options: WorkerStorageOptions, settings: TrailSettings): Promise<WorkerStorage> {
  using opened = new DisposableStack();
  const { directory, keyRing, log, seams = {} } = options;
  const { now } = systemClock;
  opened.adopt(new DirectoryLock(directory, now()), (lock) => lock.release());
  const { transaction } = opened.use(await openStateFile(directory, keyRing, now()));
  const secrets = new AesGcmSecretBox({ ring: keyRing, random: systemRandom });
  const past = pastKeys(transaction, secrets);
  const mark = new TrailMark(transaction, log);
  const keys = new ProvidedKeys({ maxCached: settings.maxKeys, past });
  const audit = opened.adopt(
    openFlushedFile({
      path: join(directory, 'audit.db'),
      subjectKeys: keys,
      checkpointSeed: deriveSeed(keyRing, 'audit.checkpoint'),
      box: secrets,
      maxBytes: options.maxAuditBytes,
      maxAgeMs: settings.maxAgeMs,
      clock: systemClock,
      random: systemRandom,
      onDamage: (damage) => log.error('the audit file was damaged and is set aside', { ...damage }),
      knownPosition: mark.saved?.position,
    }),
    (file) => file.close(),
  );
  const backlogKeys = new BacklogKeys({ audit, past, secrets });
  const stashed = audit.stashedKeys();
  keys.show(stashed);
  backlogKeys.note(stashed);
  const writer = new TrailWriter({
    audit,
    keys,
    random: systemRandom,
    now,
    monotonic: processMs,
    log,
    onAppend: options.onAppend,
    ...(seams.onAuditCommitted && { onAuditCommitted: seams.onAuditCommitted }),
    maxBatch: options.maxBatch,
    last: mark.saved,
  });
  writer.bringInLine();
  const release = new TrailRelease({
    audit,
    log,
    keepAfter: () => mark.keepAfter,
    ...(seams.onReleased && { onReleased: seams.onReleased }),
  });
  opened.defer(() => release.stop());

  const digest = new HmacKeyedDigest({ ring: keyRing });
  const erased = new ErasedPersons({ audit, keys, backlogKeys, past, transaction, digest, log });
  const tidy = () => {
    writer.bringInLine();
    const forgotten = writer.openSince(processMs() - settings.maxOpenMs);
    // What fails is tried again the next time.
    if (forgotten.length > 0) writer.revoke(forgotten).catch(() => {});
    mark.save(writer.mark());
    seams.onMarked?.(mark.saved);
    release.begin();
    erased.scrub();
  };
  tidy();
  const timers = [setInterval(tidy, MARK_MS), setInterval(() => audit.checkpoint(now()), options.checkpointMs)];
  opened.defer(() => timers.forEach(clearInterval));
  const files = opened.move();
  return {
    ports: { trail: trailPort({ audit, keys, backlogKeys, writer, release, erased }) },
    close: async () => {
      await writer.drained();
      mark.save(writer.mark());
      files.dispose();
    },
  };
}

function trailPort({ audit, keys, backlogKeys, writer, release, erased }: Parts): TrailPort {
  return {
    take: (events, provided, token) => {
      backlogKeys.note(provided);
      return writer.take(events, provided, token);
    },
    confirm: async (tokens) => writer.confirm(tokens),
    revoke: (tokens) => writer.revoke(tokens),
    query: async (filter, limit, before, known) => {
      keys.show(known);
      return audit.query(filter, limit, before);
    },
    after: async (filter, position, limit, known) => {
      keys.show(known);
      return audit.after(filter, position, limit);
    },
    head: async () => audit.head().position,
    verify: (chainId) => release.whileReading(() => verifyInSteps(audit, chainId)),
    exportPage: async (range, cursor) => await audit.exportPage(range, cursor),
    status: async () => audit.status(),
    stashedKeys: async () => audit.stashedKeys(),
    forget: async (persons) => erased.forget(persons),
    forgotThrough: async (position) => erased.forgotThrough(position),
    erasedThrough: async () => erased.through,
    backlog: (limit, from) => backlogOf(audit, backlogKeys, limit, from),
    flushed: async ({ through, anchored, refs }) => {
      const positions = audit.noteFlushed(flushedThrough(through, anchored), refs);
      backlogKeys.flushed(refs);
      release.begin();
      return positions;
    },
    chainHead: async () => audit.chainHead(),
    agree: async (central) => audit.agree(central),
  };
}

async function backlogOf(audit: FlushedFile, keys: BacklogKeys, limit: number, first: number): Promise<Backlog> {
  const { chainId } = audit.chainHead();
  const rows: ChainRow[] = [];
  const subjectKeys = new Map<string, Backlog['subjectKeys'][number]>();
  for (let from = first; rows.length < limit; ) {
    const step = audit.waitingRows(from, Math.min(ROWS_PER_STEP, limit - rows.length));
    rows.push(...step);
    for (const key of keys.of(step)) subjectKeys.set(key.ref, key);
    const last = step.at(-1);
    if (!last || step.length < ROWS_PER_STEP) break;
    from = last.sequence + 1;
    await nextTurn();
    if (audit.chainHead().chainId !== chainId) throw unavailable('the audit file was set aside meanwhile');
  }
  return { ...audit.backlogOf(rows), subjectKeys: [...subjectKeys.values()] };
}

function flushedThrough(
  through: Parameters<TrailPort['flushed']>[0]['through'],
  anchored: Parameters<TrailPort['flushed']>[0]['anchored'],
): readonly FlushedThrough[] {
  const chains = new Set([...through, ...anchored].map(({ chainId }) => chainId));
  return [...chains].map((chainId) => ({
    ...(through.find((head) => head.chainId === chainId) ?? { chainId, sequence: 0, hash: new Uint8Array() }),
    anchored: anchored.find((checkpoint) => checkpoint.chainId === chainId)?.sequence ?? 0,
  }));
}

/** Keys of the time when this directory held the state as well: their events may still wait here. */
function pastKeys(transaction: SqliteTransaction, secrets: AesGcmSecretBox): SqliteSubjectKeys | undefined {
  if (transaction.all('SELECT 1 FROM subjects LIMIT 1').length === 0) return undefined;
  return new SqliteSubjectKeys({ transaction, secrets, random: systemRandom, maxCached: MAX_PAST_KEYS });
}
