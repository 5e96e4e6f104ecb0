import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { METHODS, type Method } from '#src/domain/method.ts';
import { methodNotOffered } from '#src/services/challenges/method-not-offered.ts';
import type { ProofVerdict } from '#src/services/challenges/proof.ts';
import type { ChallengeMethod, PromptView } from '#src/services/methods/contract.ts';
import { MethodRegistry } from '#src/services/methods/registry.ts';
import type { MemoryIssuedCodes } from './memory-issued-codes.ts';

export interface Prompted {
  readonly caller: string;
  readonly challengeId: string;
  readonly factorId: string;
  readonly again: boolean;
}

/** What is right, by method. */
const VALUE: Readonly<Partial<Record<Method, string>>> = { sms: 'right', push: '42' };

/** A method that sends nothing and keeps what it was asked to show. */
export class RecordedMethod implements ChallengeMethod {
  readonly method: Method;
  readonly prompts: Prompted[] = [];
  readonly pretended: string[] = [];
  /** Thrown by the next prompts while set. */
  failure: Error | undefined;
  /** Called while something is being sent. */
  meanwhile: (challenge: Challenge) => void | Promise<void> = () => {};

  readonly #codes: MemoryIssuedCodes;

  constructor(method: Method, codes: MemoryIssuedCodes) {
    this.method = method;
    this.#codes = codes;
  }

  async prompt(caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView> {
    if (again && this.method !== 'sms' && this.method !== 'push') throw methodNotOffered(challenge, this.method);
    if (this.failure) throw this.failure;
    this.prompts.push({ caller: caller.name, challengeId: challenge.id, factorId: factor.id, again });
    if (this.method in VALUE) await this.#issue(challenge, factor);
    await this.meanwhile(challenge);
    return this.#view(factor);
  }

  async pretend(challenge: Challenge, factor: Factor): Promise<PromptView> {
    this.pretended.push(challenge.id);
    return this.#view(factor);
  }

  check(): Promise<ProofVerdict> {
    return Promise.reject(new Error('the checker of the world looks at proofs'));
  }

  imitate(): Promise<void> {
    return Promise.reject(new Error('the checker of the world imitates'));
  }

  #issue({ id: bearerId, realm, subject, createdAt, expiresAt }: Challenge, { id: factorId }: Factor): Promise<void> {
    const { method } = this;
    const digest = Buffer.from(VALUE[method] ?? '');
    const sealed = new Uint8Array();
    return this.#codes.issue({
      ...{ realm, subject, bearerId, method, factorId, digest, sealed },
      issuedAt: createdAt,
      expiresAt,
    });
  }

  #view(factor: Factor): PromptView {
    const view = { method: this.method, factorId: factor.id };
    if (this.method === 'sms') return { ...view, destination: '+1 *** ***-**42' };
    if (this.method === 'push') return { ...view, number: '42' };
    return this.method === 'webauthn' ? { ...view, webauthnOptionsJson: '{}' } : view;
  }
}

/** All methods, by name and as a registry. */
export function recordedMethods(codes: MemoryIssuedCodes) {
  const by = Object.fromEntries(METHODS.map((method) => [method, new RecordedMethod(method, codes)])) as Readonly<
    Record<Method, RecordedMethod>
  >;
  return { by, registry: new MethodRegistry(METHODS.map((method) => ({ challenge: by[method] }))) };
}
