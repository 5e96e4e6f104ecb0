import type { ConsentStore } from '#src/ports/consent-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { KeyedDigest, Random } from '#src/ports/runtime.ts';
import type { SubjectStore } from '#src/ports/subject-store.ts';
import type { TrustedDeviceStore } from '#src/ports/trusted-device-store.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { SessionEndings } from '../sessions/session-endings.ts';
import { Consents } from './consents.ts';
import { Erasure } from './erasure.ts';
import { SubjectExport, type SubjectExportDependencies } from './subject-export.ts';

export interface PrivacyDependencies extends SubjectExportDependencies {
  readonly consents: ConsentStore;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly subjects: SubjectStore;
  readonly devices: Pick<TrustedDeviceStore, 'list'>;
  readonly endings: Pick<SessionEndings, 'end'>;
  readonly claims: RequestClaims;
  readonly digest: KeyedDigest;
  readonly random: Random;
}

/** What a person may ask of those who keep data about them. */
export interface PrivacyServices {
  readonly consents: Consents;
  readonly subjectExport: SubjectExport;
  readonly erasure: Erasure;
}

export function privacyServices(deps: PrivacyDependencies): PrivacyServices {
  return { consents: new Consents(deps), subjectExport: new SubjectExport(deps), erasure: new Erasure(deps) };
}
