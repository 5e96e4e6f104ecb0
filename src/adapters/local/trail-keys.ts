import type { CentralSubjectKeys, SubjectKey } from '#src/adapters/audit/contract.ts';
import { ErasedRefs } from '#src/adapters/audit/erased-refs.ts';
import { isPersonal } from '#src/adapters/audit/record.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { base32 } from '#src/domain/ids.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Random } from '#src/ports/runtime.ts';

/** A person's key on its way to the worker. */
export interface TrailKey extends SubjectKey {
  /** Central storage does not have it yet: it goes to disk with the events that use it. */
  readonly provisional: boolean;
}

export interface TrailKeysOptions {
  readonly central: CentralSubjectKeys;
  readonly random: Random;
  /** How long events wait for a key before they get a provisional one. */
  readonly timeoutMs: DurationMs;
  /** How many persons are remembered. */
  readonly maxCached: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Stands for a person in the log of erasures, where a key was made that central storage knows nothing of. */
  readonly markOf: (realm: string, subject: string) => string;
}

interface Known {
  readonly key: TrailKey;
  /** From then on central storage is asked again, behind the back of those who use the key. */
  askAgainAt: number;
}

/** So that the key of a person who was erased meanwhile is not used for ever. */
const FRESH_MS = 5 * 60_000;
const RETRY_MS = 5_000;
/** Questions under way at once; who comes later gets a provisional key. */
const MAX_ASKING = 1_024;
/** Keys made here of which is remembered whose they are, also once central storage has them. */
const MAX_MADE = 10_000;

/**
 * The keys of persons, ahead of their events: from memory, from central storage, or, where that does not answer in time,
 * made here to be brought there with the events. One question for each person at a time.
 */
export class TrailKeys {
  readonly #options: TrailKeysOptions;
  /** In order of use, the oldest first. */
  readonly #known = new Map<string, Known>();
  readonly #asking = new Map<string, Promise<void>>();
  /** Marks by the pseudonyms of keys that were made here; the oldest first. */
  readonly #made = new Map<string, string>();
  readonly #erased = new ErasedRefs();

  constructor(options: TrailKeysOptions) {
    this.#options = options;
  }

  /** One key for each person that the events tell of. Never rejects. */
  async keysOf(events: readonly EventDraft[]): Promise<readonly TrailKey[]> {
    const persons = new Map<string, { readonly realm: string; readonly subject: string }>();
    for (const event of events) {
      if (!isPersonal(event)) continue;
      const { realm, subject = '' } = event;
      persons.set(nameOf(realm, subject), { realm, subject });
    }
    return await Promise.all(
      [...persons].map(([name, { realm, subject }]) => this.#use(name) ?? this.#wait(name, realm, subject)),
    );
  }

  /** Keys that wait on disk since before this start. */
  adopt(stashed: readonly SubjectKey[]): void {
    for (const key of stashed) {
      this.#noteMade(key);
      this.#remember(nameOf(key.realm, key.subject), { ...key, provisional: true }, 0);
    }
  }

  /**
   * Of erased persons, by pseudonym or mark: from now on their events get other keys. Answers the pseudonyms of those that
   * were made here, which central storage may not have seen, or may see only now.
   */
  forget(erased: ReadonlySet<string>): readonly string[] {
    this.#erased.add(erased);
    const made = [...this.#made].flatMap(([ref, mark]) => (erased.has(mark) ? [ref] : []));
    this.#erased.add(made);
    for (const [name, { key }] of this.#known) if (this.#erased.has(key.ref)) this.#known.delete(name);
    return made;
  }

  /** Whether it was of somebody whom `forget` was told of. */
  isErased(ref: string): boolean {
    return this.#erased.has(ref);
  }

  /** Central storage has these now. */
  uploaded(refs: ReadonlySet<string>): void {
    if (refs.size === 0) return;
    for (const [name, { key, askAgainAt }] of this.#known)
      if (key.provisional && refs.has(key.ref))
        this.#known.set(name, { key: { ...key, provisional: false }, askAgainAt });
  }

  #use(name: string): TrailKey | undefined {
    const known = this.#known.get(name);
    if (!known) return undefined;
    this.#known.delete(name);
    this.#known.set(name, known);
    const { realm, subject } = known.key;
    if (this.#options.now() >= known.askAgainAt) void this.#ask(name, realm, subject);
    return known.key;
  }

  async #wait(name: string, realm: string, subject: string): Promise<TrailKey> {
    const { promise, resolve } = Promise.withResolvers<void>();
    // After a pause of the process timers come before sockets: an answer that lies there by then is read first.
    const timer = setTimeout(() => setImmediate(resolve), this.#options.timeoutMs);
    try {
      await Promise.race([this.#ask(name, realm, subject), promise]);
    } finally {
      clearTimeout(timer);
    }
    const found = this.#known.get(name);
    if (found) return found.key;
    const { random, now } = this.#options;
    const key = { realm, subject, ref: base32(random.bytes(16)), key: random.bytes(32), provisional: true };
    this.#noteMade(key);
    this.#remember(name, key, now() + RETRY_MS);
    return key;
  }

  #ask(name: string, realm: string, subject: string): Promise<void> {
    const under = this.#asking.get(name);
    if (under) return under;
    if (this.#asking.size >= MAX_ASKING) return Promise.resolve();
    const asking = this.#askNow(name, realm, subject).finally(() => this.#asking.delete(name));
    this.#asking.set(name, asking);
    return asking;
  }

  async #askNow(name: string, realm: string, subject: string): Promise<void> {
    const { central, now } = this.#options;
    try {
      let key = await central.of(realm, subject);
      // It was on its way when the person was erased.
      if (this.#erased.has(key.ref)) key = await central.of(realm, subject);
      if (this.#erased.has(key.ref)) return;
      this.#remember(name, { ...key, provisional: false }, now() + FRESH_MS);
    } catch {
      // The breaker in front of the database tells of the outage.
      const known = this.#known.get(name);
      if (known) known.askAgainAt = now() + RETRY_MS;
    }
  }

  #noteMade({ realm, subject, ref }: SubjectKey): void {
    this.#made.set(ref, this.#options.markOf(realm, subject));
    const [oldest] = this.#made.keys();
    if (this.#made.size > MAX_MADE && oldest !== undefined) this.#made.delete(oldest);
  }

  #remember(name: string, key: TrailKey, askAgainAt: number): void {
    this.#known.delete(name);
    this.#known.set(name, { key, askAgainAt });
    if (this.#known.size <= this.#options.maxCached) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}

function nameOf(realm: string, subject: string): string {
  return `${realm}\n${subject}`;
}
