import type { Caller } from '#src/domain/caller.ts';
import { secretBinding } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import {
  EXPORT_LISTS,
  type ExportEntry,
  type ExportList,
  exportChallenge,
  exportConsent,
  exportDevice,
  exportEvent,
  exportFactor,
  exportHead,
  exportNotice,
  exportSession,
  heldOf,
} from '#src/domain/subject-export.ts';
import { deviceBinding } from '#src/domain/trusted-device.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { ConsentStore } from '#src/ports/consent-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { SubjectRecords } from '#src/ports/subject-records.ts';
import type { SubjectStore } from '#src/ports/subject-store.ts';
import type { Trail } from '../trail.ts';
import { addressOf } from './consents.ts';

export interface SubjectExportDependencies {
  readonly consents: Pick<ConsentStore, 'list'>;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly sessions: Pick<SessionStore, 'list'>;
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly subjects: Pick<SubjectStore, 'pass'>;
  readonly records: SubjectRecords;
  readonly audit: Pick<AuditLog, 'head' | 'after'>;
  readonly box: SecretBox;
  readonly trail: Trail;
  readonly clock: Clock;
  /** Bytes at which an export ends with a fault. */
  readonly maxBytes: number;
}

/** Whose. */
interface Person {
  readonly realm: string;
  readonly subject: string;
}

const PAGE = 200;
/** Bytes of a piece; some less where a character would be cut. */
const PIECE = 32 * 1024;
/** Exports under way at once. Each holds one page and one piece. */
const MAX_AT_ONCE = 4;

/**
 * Everything that is kept of a person, as one JSON document in pieces, read page by page. Each page is as it was when it was
 * read, and events that come after the beginning are not part of it. The document ends with `"complete":true`: one that
 * was cut shows.
 */
export class SubjectExport {
  readonly #deps: SubjectExportDependencies;
  #underWay = 0;

  constructor(deps: SubjectExportDependencies) {
    this.#deps = deps;
  }

  /**
   * UTF-8 pieces of at most 32 KiB. Who asked is in the trail before the first one. Ends when `signal` aborts. Faults:
   * limited LIMIT_EXCEEDED, for too many at once and for an export beyond the bound; data-loss INTEGRITY.
   */
  async *export(caller: Caller, person: Person, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#underWay >= MAX_AT_ONCE) throw limited('exports at once', 'too many exports are under way; try again');
    this.#underWay += 1;
    try {
      const { trail, audit, maxBytes } = this.#deps;
      const upTo = await audit.head();
      const head = await this.#head(person);
      await trail.append(trail.draft('subject.exported', caller, { ...person, outcome: 'SUCCESS' }));
      const pieces = new Pieces(maxBytes);
      for await (const text of this.#document(person, head, upTo)) {
        if (signal.aborted) return;
        yield* pieces.add(text);
      }
      yield* pieces.rest();
    } finally {
      this.#underWay -= 1;
    }
  }

  async *#document(person: Person, head: ExportEntry, upTo: number): AsyncGenerator<string, void, undefined> {
    yield JSON.stringify(head).slice(0, -1);
    for (const list of EXPORT_LISTS) {
      yield `,\n${JSON.stringify(list)}:[`;
      let before = '\n';
      for await (const page of this.#pages(list, person, upTo)) {
        for (const entry of page) {
          yield before + JSON.stringify(entry);
          before = ',\n';
        }
      }
      yield ']';
    }
    yield ',\n"complete":true}\n';
  }

  async #head({ realm, subject }: Person): Promise<ExportEntry> {
    const { attempts, subjects, clock } = this.#deps;
    const budget = await attempts.read(realm, subject);
    const passExpiresAt = (await subjects.pass(realm, subject))?.expiresAt;
    return exportHead({ realm, subject, now: clock.now(), budget, passExpiresAt });
  }

  async *#pages(list: ExportList, { realm, subject }: Person, upTo: number): AsyncGenerator<readonly ExportEntry[]> {
    const { consents, factors, records, box, clock } = this.#deps;
    switch (list) {
      case 'consents':
        yield (await consents.list(realm, subject)).map((one) =>
          exportConsent(one, addressOf(box, realm, subject, one)),
        );
        return;
      case 'factors':
        yield (await factors.list(realm, subject, clock.now())).map((one) => {
          const { sealedSecret } = one;
          return exportFactor(
            one,
            sealedSecret.length === 0 ? {} : heldOf(one, box.open(sealedSecret, secretBinding(one))),
          );
        });
        return;
      case 'sessions':
        return yield* this.#sessions(realm, subject);
      case 'trusted_devices':
        yield (await records.devices(realm, subject)).map((one) =>
          exportDevice(one, box.open(one.sealedConnection, deviceBinding(one))),
        );
        return;
      case 'challenges':
        return yield* this.#challenges(realm, subject);
      case 'notices':
        yield (await records.notices(realm, subject)).map(exportNotice);
        return;
      case 'events':
        return yield* this.#events(realm, subject, upTo);
    }
  }

  async *#sessions(realm: string, subject: string): AsyncGenerator<readonly ExportEntry[]> {
    const { sessions, clock } = this.#deps;
    for (let after: { readonly createdAt: number; readonly id: string } | undefined; ; ) {
      const range = { realm, subject, includeEnded: true, limit: PAGE, now: clock.now(), ...(after && { after }) };
      const page = await sessions.list(range);
      yield page.map(exportSession);
      after = page.at(-1);
      if (page.length < PAGE) return;
    }
  }

  async *#challenges(realm: string, subject: string): AsyncGenerator<readonly ExportEntry[]> {
    for (let after: { readonly createdAt: number; readonly id: string } | undefined; ; ) {
      const page = await this.#deps.records.challenges(realm, subject, PAGE, after);
      yield page.map(exportChallenge);
      after = page.at(-1);
      if (page.length < PAGE) return;
    }
  }

  async *#events(realm: string, subject: string, upTo: number): AsyncGenerator<readonly ExportEntry[]> {
    for (let position = 0; ; ) {
      const page = await this.#deps.audit.after({ realm, subject }, position, PAGE);
      yield page.filter((event) => event.position <= upTo).map(exportEvent);
      position = page.at(-1)?.position ?? upTo;
      if (page.length < PAGE || position >= upTo) return;
    }
  }
}

/** Text in, pieces of bytes out. */
class Pieces {
  readonly #maxBytes: number;
  #total = 0;
  #waiting: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  *add(text: string): Generator<Uint8Array, void> {
    const added = Buffer.from(text, 'utf8');
    this.#total += added.length;
    if (this.#total > this.#maxBytes)
      throw limited('privacy.max_export', 'the export is larger than privacy.max_export');
    this.#waiting.push(added);
    this.#bytes += added.length;
    if (this.#bytes < PIECE) return;
    let all = Buffer.concat(this.#waiting);
    while (all.length >= PIECE) {
      let end = PIECE;
      while (((all[end] ?? 0) & 0xc0) === 0x80) end -= 1;
      yield all.subarray(0, end);
      all = all.subarray(end);
    }
    this.#waiting = [all];
    this.#bytes = all.length;
  }

  *rest(): Generator<Uint8Array, void> {
    if (this.#bytes > 0) yield Buffer.concat(this.#waiting);
  }
}

function limited(subject: string, message: string): Fault {
  return new Fault('limited', 'LIMIT_EXCEEDED', message, { quota: { subject, description: message } });
}
