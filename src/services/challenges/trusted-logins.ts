import type { Challenge } from '#src/domain/challenge.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { TrustedDeviceAuthority } from '../contracts.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { Asked, ToProve } from './asked.ts';

/** What a repeated OpenChallenge is answered from: the challenge, and the token that was handed out with it. */
export interface FirstOpening {
  readonly challengeId: string;
  readonly trustedDeviceToken: string;
}

export interface TrustedLoginDependencies {
  readonly devices: TrustedDeviceAuthority;
  readonly box: SecretBox;
}

/** Logins for which a remembered device makes a second proof needless. */
export class TrustedLogins {
  readonly #deps: TrustedLoginDependencies;

  constructor(deps: TrustedLoginDependencies) {
    this.#deps = deps;
  }

  /**
   * The token that takes the place of the one that was shown, '' when that one stays; undefined when the device makes
   * nothing needless. The token is used up by asking.
   */
  async use({ caller, command, subject, decision }: ToProve): Promise<string | undefined> {
    const { realm, purpose, client, trustedDeviceToken: token } = command;
    if (token === '') return undefined;
    const login = { realm, subject, purpose, sensitivity: decision.sensitivity, token, client };
    const used = await this.#deps.devices.use(caller, login);
    return used.outcome === 'trusted' ? used.nextToken : undefined;
  }

  /** The seed of a request claim: the id as it is, the token sealed to person and request. */
  seedOf({ subject, command }: Asked, challenge: Challenge, trustedDeviceToken: string): string {
    if (trustedDeviceToken === '') return challenge.id;
    const { realm, requestId } = command;
    return `${challenge.id}\n${sealAnswer(this.#deps.box, { realm, subject, requestId }, trustedDeviceToken)}`;
  }

  /** Throws Fault(data-loss, INTEGRITY) for a seed that is not of this person and request. */
  firstOf({ subject, command }: Asked, seed: Uint8Array): FirstOpening {
    const { realm, requestId } = command;
    const [challengeId = '', sealed] = Buffer.from(seed).toString('utf8').split('\n');
    if (sealed === undefined) return { challengeId, trustedDeviceToken: '' };
    const token = openAnswer(this.#deps.box, { realm, subject, requestId }, Buffer.from(sealed, 'utf8'));
    return { challengeId, trustedDeviceToken: String(token) };
  }
}
