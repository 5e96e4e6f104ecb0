import type { Method } from '#src/domain/method.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import type { IssuedCode, IssuedCodes } from '#src/ports/issued-codes.ts';

/** Issued codes in memory: the newest of each bearer and method. */
export class MemoryIssuedCodes implements IssuedCodes {
  readonly codes = new Map<string, IssuedCode>();

  async issue(code: IssuedCode): Promise<void> {
    await Promise.resolve();
    this.codes.set(keyOf(code.bearerId, code.method), code);
  }

  async read(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined> {
    await Promise.resolve();
    return this.#live(realm, bearerId, method, now);
  }

  async take(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined> {
    await Promise.resolve();
    const code = this.#live(realm, bearerId, method, now);
    if (code) this.codes.delete(keyOf(bearerId, method));
    return code;
  }

  async purge(before: EpochMs, limit: number): Promise<number> {
    await Promise.resolve();
    const old = [...this.codes].filter(([, { expiresAt }]) => expiresAt < before).slice(0, limit);
    for (const [key] of old) this.codes.delete(key);
    return old.length;
  }

  /** As an approval or a confirmation uses one up, at one instant. */
  use(
    code: Pick<IssuedCode, 'bearerId' | 'method' | 'realm' | 'subject' | 'factorId' | 'digest'>,
    now: EpochMs,
  ): boolean {
    const { realm, bearerId, method } = code;
    const known = this.#live(realm, bearerId, method, now);
    const right =
      known?.subject === code.subject &&
      known.factorId === code.factorId &&
      Buffer.compare(known.digest, code.digest) === 0;
    if (right) this.codes.delete(keyOf(bearerId, method));
    return right;
  }

  #live(realm: string, bearerId: string, method: Method, now: EpochMs): IssuedCode | undefined {
    const code = this.codes.get(keyOf(bearerId, method));
    return code?.realm === realm && !isOver(code.expiresAt, now) ? code : undefined;
  }
}

function keyOf(bearerId: string, method: Method): string {
  return `${bearerId}\n${method}`;
}
