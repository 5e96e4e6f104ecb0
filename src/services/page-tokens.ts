import { Fault } from '#src/domain/faults.ts';
import type { SecretBox } from '#src/ports/runtime.ts';

/**
 * Page tokens and cursors: positions that callers hold for us. Sealed, so that they cannot be made up, and bound to
 * their scope, so that one of another query is refused.
 */
export class PageTokens {
  readonly #secrets: SecretBox;

  constructor(secrets: SecretBox) {
    this.#secrets = secrets;
  }

  /** `scope` is everything that a later call has to ask the same. */
  seal(scope: readonly string[], position: readonly string[]): string {
    const plain = Buffer.from(JSON.stringify(position), 'utf8');
    return Buffer.from(this.#secrets.seal(plain, bindingOf(scope))).toString('base64url');
  }

  /** Throws Fault(invalid, TOKEN_INVALID) naming `field` if it was not made here, or for another scope. */
  open(scope: readonly string[], token: string, field: string): readonly string[] {
    try {
      const plain = this.#secrets.open(Buffer.from(token, 'base64url'), bindingOf(scope));
      return JSON.parse(Buffer.from(plain).toString('utf8')) as string[];
    } catch (cause) {
      throw new Fault('invalid', 'TOKEN_INVALID', `${field}: was not made by this server, or for other arguments`, {
        violations: [{ field, description: 'is not one of ours for these arguments' }],
        cause,
      });
    }
  }
}

function bindingOf(scope: readonly string[]) {
  const [purpose = '', realm = '', ...rest] = scope;
  return { purpose: `page.${purpose}`, realm, subject: '', id: JSON.stringify(rest) };
}
