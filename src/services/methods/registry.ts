import type { Method } from '#src/domain/method.ts';
import type { ChallengeMethod, EnrollmentMethod, MethodParts } from './contract.ts';

/** The methods that this sidecar has, by name. */
export class MethodRegistry {
  readonly #parts: ReadonlyMap<Method, MethodParts>;

  constructor(parts: readonly MethodParts[]) {
    this.#parts = new Map(parts.map((part) => [part.challenge.method, part]));
    if (this.#parts.size < parts.length) throw new RangeError('a method was given twice');
  }

  /** Undefined for a method that is not there, which answers no challenge. */
  challenge(method: Method): ChallengeMethod | undefined {
    return this.#parts.get(method)?.challenge;
  }

  /** Undefined for a method that is not there or that is not enrolled by itself. */
  enrollment(method: Method): EnrollmentMethod | undefined {
    return this.#parts.get(method)?.enrollment;
  }

  /** Where a factor reaches the person, masked; undefined where that means nothing. */
  mask(method: Method): MethodParts['mask'] {
    return this.#parts.get(method)?.mask;
  }

  /** Whether the method can be used: to answer, or to be enrolled. */
  has(method: Method): boolean {
    return this.#parts.has(method);
  }

  /** Methods that BeginEnrollment takes. */
  get enrollable(): readonly Method[] {
    return [...this.#parts].flatMap(([method, { enrollment }]) => (enrollment ? [method] : []));
  }
}
