import { codeAt, seedOfManualKey, stepAt } from '#src/domain/totp.ts';

/** The authenticator app: a person's, or played by the demo. */
export class Phone {
  readonly #seed: Uint8Array;
  readonly #ask: ((question: string) => Promise<string>) | undefined;
  /** A step after the current one is accepted already, so that the demo need not wait between codes. */
  #nextStep = stepAt(Date.now());

  constructor(manualKey: string, ask: ((question: string) => Promise<string>) | undefined) {
    this.#seed = seedOfManualKey(manualKey);
    this.#ask = ask;
  }

  async code(question: string): Promise<string> {
    if (this.#ask) return this.#ask(question);
    const code = codeAt(this.#seed, this.#nextStep);
    this.#nextStep += 1;
    return code;
  }

  /** Surely none of the codes that are right now. */
  wrongCode(): string {
    const right = new Set([-1, 0, 1, 2].map((offset) => codeAt(this.#seed, stepAt(Date.now()) + offset)));
    let code = '000000';
    for (let guess = 0; right.has(code); guess += 1) code = String(guess).padStart(6, '0');
    return code;
  }
}
