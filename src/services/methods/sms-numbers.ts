import { invalidFields } from '#src/domain/faults.ts';
import { maskNumber, type PhoneNumber, tells } from '#src/domain/phone-number.ts';
import type { PhoneNumbers } from '#src/ports/phone-numbers.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type FactorRow, FactorSecrets, type SealedFactor } from './factor-secrets.ts';

export interface SmsNumbersDependencies {
  readonly phones: PhoneNumbers;
  readonly box: SecretBox;
  readonly log: Log;
  /** ISO 3166-1 alpha-2: numbers of every other country are refused. */
  readonly countries: readonly string[];
}

/** The numbers of SMS factors: taken in, sealed into their row, opened, and masked for everybody to see. */
export class SmsNumbers {
  readonly #deps: SmsNumbersDependencies;
  readonly #secrets: FactorSecrets;

  constructor(deps: SmsNumbersDependencies) {
    this.#deps = deps;
    this.#secrets = new FactorSecrets(deps);
  }

  /** Throws Fault(invalid, FIELD_INVALID) for what is no mobile number of a country that is allowed. */
  async take(text: string): Promise<PhoneNumber> {
    const { phones, countries } = this.#deps;
    const number = await phones.read(text);
    if (!number) throw invalidNumber('must be a mobile number in international form, as +14155550132');
    if (!this.allows(number.country)) {
      throw invalidNumber(`must be of one of these countries: ${countries.join(', ')}`);
    }
    return number;
  }

  /** Refuses a name that gives away what is masked everywhere else. */
  checkName(displayName: string, number: PhoneNumber): void {
    if (!tells(displayName, number.e164)) return;
    throw invalidFields([{ field: 'display_name', description: 'must not hold the phone number' }]);
  }

  seal(row: FactorRow, number: PhoneNumber): Uint8Array {
    return this.#secrets.seal(row, Buffer.from(number.e164, 'utf8'));
  }

  /** In E.164. Throws as FactorSecrets.open. */
  open(factor: SealedFactor): string {
    return Buffer.from(this.#secrets.open(factor)).toString('utf8');
  }

  /** In E.164; '' where no message may go to any more. Throws as `open`. */
  async reachable(factor: SealedFactor): Promise<string> {
    const e164 = this.open(factor);
    return this.allows(await this.countryOf(e164)) ? e164 : '';
  }

  /** Whether messages may go to the country: a number stays enrolled when the list gets shorter, and is sent nothing. */
  allows(country: string): boolean {
    return this.#deps.countries.includes(country);
  }

  /** For answers and pages; '' for a row that does not open, so that a list of factors can still be read. */
  masked(factor: SealedFactor): string {
    try {
      return maskNumber(this.open(factor));
    } catch {
      return '';
    }
  }

  /** '' for a number that the metadata no longer knows. */
  async countryOf(e164: string): Promise<string> {
    return (await this.#deps.phones.read(e164))?.country ?? '';
  }
}

function invalidNumber(description: string) {
  return invalidFields([{ field: 'phone_number', description }]);
}
