import type { WebAuthnRefusal } from '#src/ports/webauthn.ts';

/** A ceremony that does not hold. Stays inside the adapter: its callers get the refusal as a value. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly refusal: WebAuthnRefusal;

  constructor(refusal: WebAuthnRefusal) {
    super(refusal);
    this.refusal = refusal;
  }
}

/** Refuses unless `holds`. */
export function demand(holds: boolean, refusal: WebAuthnRefusal): asserts holds {
  if (!holds) throw new Refused(refusal);
}
