import { isSameBytes } from '#src/domain/same-bytes.ts';
import { isSmsCode, newSmsCode } from '#src/domain/sms-code.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random } from '#src/ports/runtime.ts';

/** A challenge or a pending factor, for which a code is good. */
export interface CodeBearer {
  readonly realm: string;
  readonly subject: string;
  readonly id: string;
  readonly expiresAt: EpochMs;
}

export interface SmsCodesDependencies {
  readonly issued: IssuedCodes;
  readonly digest: KeyedDigest;
  readonly random: Random;
  readonly clock: Clock;
}

/** Codes by SMS. Only a keyed digest is kept, bound to bearer and factor; it dies with its bearer. */
export class SmsCodes {
  readonly #deps: SmsCodesDependencies;

  constructor(deps: SmsCodesDependencies) {
    this.#deps = deps;
  }

  /** A new code, which voids the one before. */
  async issue(bearer: CodeBearer, factorId: string): Promise<string> {
    const { issued, random, clock } = this.#deps;
    const code = newSmsCode((length) => random.bytes(length));
    const { realm, subject, id: bearerId, expiresAt } = bearer;
    await issued.issue({
      realm,
      subject,
      bearerId,
      method: 'sms',
      factorId,
      digest: this.#digest(realm, bearerId, factorId, code),
      sealed: new Uint8Array(),
      issuedAt: clock.now(),
      expiresAt,
    });
    return code;
  }

  /** What is good for the bearer now; undefined when nothing is. */
  async live(
    realm: string,
    bearerId: string,
  ): Promise<{ readonly factorId: string; readonly mark: string } | undefined> {
    const { issued, clock } = this.#deps;
    const code = await issued.read(realm, bearerId, 'sms', clock.now());
    return code && { factorId: code.factorId, mark: Buffer.from(code.digest).toString('base64url') };
  }

  /** The factor and digest of the newest code, if that is what was typed. Malformed text is looked at no further. */
  async match(
    realm: string,
    bearerId: string,
    typed: string,
    now: EpochMs,
  ): Promise<{ readonly factorId: string; readonly digest: Uint8Array } | undefined> {
    if (!isSmsCode(typed)) return undefined;
    const newest = await this.#deps.issued.read(realm, bearerId, 'sms', now);
    // The same work whether there is a code or not.
    const digest = this.#digest(realm, bearerId, newest?.factorId ?? '', typed);
    const matches = isSameBytes(digest, newest?.digest ?? NOTHING);
    return newest && matches ? { factorId: newest.factorId, digest } : undefined;
  }

  /** Nothing is good for the bearer any more. */
  async void(realm: string, bearerId: string): Promise<void> {
    await this.#deps.issued.take(realm, bearerId, 'sms', this.#deps.clock.now());
  }

  #digest(realm: string, bearerId: string, factorId: string, code: string): Uint8Array {
    return this.#deps.digest.digest('sms.code', [realm, bearerId, factorId, code].join('\n'));
  }
}

const NOTHING = new Uint8Array(32);
