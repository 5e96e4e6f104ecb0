import type {
  Agreement,
  CentralSubjectKeys,
  ChainHead,
  EventCommit,
  FlushSource,
} from '#src/adapters/audit/contract.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { ERASURE_MARK, markOf } from '#src/domain/erasure.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { Random } from '#src/ports/runtime.ts';
import { FlushMark } from './flush-mark.ts';
import { LeavingKeys } from './leaving-keys.ts';
import { processMs } from './protocol.ts';
import { ReadAhead } from './read-ahead.ts';
import { ReadableTrail } from './readable-trail.ts';
import { remote, startWorker, type WorkerOptions } from './start-worker.ts';
import { TrailCommit } from './trail-commit.ts';
import { TrailKeys } from './trail-keys.ts';
import type { Flushed } from './trail-port.ts';

export interface LocalTrailOptions extends WorkerOptions {
  readonly subjectKeys: CentralSubjectKeys;
  /** `strict`: events are taken when central storage has them; `buffered`: when they are on the local disk. */
  readonly mode: 'buffered' | 'strict';
  /** Age of the oldest waiting event at which nothing is granted any more. */
  readonly maxAgeMs: DurationMs;
  /** How long events wait for the key of a person; 250 ms if absent. */
  readonly keyTimeoutMs?: DurationMs;
  /** How many persons' keys are kept in memory; 8192 if absent. */
  readonly maxCachedKeys?: number;
  /** How long strict events wait for central storage; 2 s if absent. */
  readonly flushTimeoutMs?: DurationMs;
  /** How long events may be without a word how their effect ended, until they are named as uncertain; 10 min if absent. */
  readonly maxOpenMs?: DurationMs;
  readonly random?: Random;
  /**
   * Called when keys that were made here have reached central storage, before they leave the local file: whoever follows
   * erasures looks once more whether their person was erased on the way.
   */
  readonly beforeKeysLeave?: () => Promise<void>;
}

/** The trail of a sidecar whose state is elsewhere: on the local disk first, and from there to central storage. */
export interface LocalTrail extends AsyncDisposable {
  /** What is in the local file: with central storage up, mostly what was not flushed yet. */
  readonly audit: AuditLog;
  readonly commit: EventCommit;
  readonly source: FlushSource;
  /** The end of the local chain, to be compared with what central storage has of it. */
  localHead(): Promise<ChainHead>;
  /**
   * To be told at start, before the first flush, what central storage has of the chain of `localHead`. When that shows
   * that the local file is an older copy or another one, the file is set aside and a chain begins that links to what
   * central storage has, with an `audit.chain_damaged` event.
   */
  agree(central: ChainHead): Promise<Agreement>;
  /**
   * Persons were erased (pseudonyms and marks, see SubjectStore.erasuresAfter): no key of theirs is used, kept or brought
   * to central storage from here any more. Answers pseudonyms of keys that were made here and may have got there all the
   * same.
   */
  forget(erased: readonly string[]): Promise<readonly string[]>;
  /** That is done, and all that comes of it, up to this position; kept for `erasedThrough` after the next start. */
  forgotThrough(position: number): Promise<void>;
  erasedThrough(): Promise<number>;
}

/**
 * Starts the thread that owns audit.db, and waits until it serves. Rejects with a Fault as `openLocalStorage` does. Calls
 * reject with Fault(unavailable, AUDIT_UNAVAILABLE) where events cannot be taken.
 */
export async function openLocalTrail(options: LocalTrailOptions): Promise<LocalTrail> {
  const { subjectKeys: central, random = systemRandom, mode, timeoutMs = 5_000, maxPending = 8_192 } = options;
  const maxCached = options.maxCachedKeys ?? 8_192;
  const { channel, onAppend } = await startWorker(options, {
    maxAgeMs: options.maxAgeMs,
    maxOpenMs: options.maxOpenMs ?? 600_000,
    maxKeys: maxCached,
  });
  const worker = remote(channel, 'trail');
  const keyTimeoutMs = options.keyTimeoutMs ?? 250;
  const digest = new HmacKeyedDigest({ ring: options.keyRing });
  const keys = new TrailKeys({
    central,
    random,
    timeoutMs: keyTimeoutMs,
    maxCached,
    now: processMs,
    markOf: (realm, subject) => Buffer.from(digest.digest(ERASURE_MARK, markOf(realm, subject))).toString('base64url'),
  });
  const flushed = new FlushMark();
  const commit = new TrailCommit({
    worker,
    keys,
    flushed,
    mode,
    flushTimeoutMs: options.flushTimeoutMs ?? 2_000,
    maxPending,
    isGone: () => channel.isGone,
  });
  try {
    keys.adopt(await worker.stashedKeys());
  } catch (error) {
    await channel.close();
    throw error;
  }
  const leaving = new LeavingKeys({
    before: async (refs) => {
      await options.beforeKeysLeave?.();
      // An erasure may have been heard of while a batch was on its way there.
      const late = refs.filter((ref) => keys.isErased(ref));
      if (late.length > 0) await central.destroy(late);
    },
    leave: async (refs) => {
      await worker.flushed({ through: [], anchored: [], refs });
      keys.uploaded(new Set(refs));
    },
  });
  const ahead = new ReadAhead(worker);
  const readable = new ReadableTrail({ worker, central, timeoutMs: keyTimeoutMs });
  return {
    audit: {
      append: (events) => commit.append(events),
      query: (filter, limit, before) => readable.query(filter, limit, before),
      after: (filter, position, limit) => readable.after(filter, position, limit),
      head: worker.head,
      onAppend,
      verify: worker.verify,
      exportPage: worker.exportPage,
      status: worker.status,
    },
    commit,
    source: {
      backlog: (limit) => ahead.backlog(limit),
      flushed: async (backlog) => {
        const { refs, ...positions } = lastOf(backlog);
        flushed.moveTo(await worker.flushed({ ...positions, refs: [] }));
        ahead.flushed(backlog.rows.at(-1));
        leaving.after(refs);
      },
    },
    localHead: worker.chainHead,
    agree: worker.agree,
    forget: async (erased) => {
      const made = keys.forget(new Set(erased));
      const found = await worker.forget([...new Set([...erased, ...made])]);
      keys.forget(new Set(found));
      return [...new Set([...made, ...found])];
    },
    forgotThrough: worker.forgotThrough,
    erasedThrough: worker.erasedThrough,
    [Symbol.asyncDispose]: async () => {
      await commit.drained(timeoutMs);
      await channel.close();
    },
  };
}

/** The rows stay on this side: their order makes the last one of a chain stand for all. */
function lastOf({ rows, checkpoints, subjectKeys }: Parameters<FlushSource['flushed']>[0]): Flushed {
  const through = new Map(rows.map(({ chainId, sequence, hash }) => [chainId, { chainId, sequence, hash }]));
  const anchored = new Map(checkpoints.map(({ chainId, sequence }) => [chainId, { chainId, sequence }]));
  return {
    through: [...through.values()],
    anchored: [...anchored.values()],
    refs: subjectKeys.map(({ ref }) => ref),
  };
}
