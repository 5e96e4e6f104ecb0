import type { MakeStores } from '../support/store-fixture.ts';
import { describeConsentStore } from './consent-store.contract.ts';
import { describeDeliveries } from './deliveries.contract.ts';
import { describeEnrolmentProofs } from './enrolment-proofs.contract.ts';
import { describeIssuedCodes } from './issued-codes.contract.ts';
import { describeMethodProofs } from './method-proofs.contract.ts';
import { describeNoticeOutbox } from './notice-outbox.contract.ts';
import { describePushKeyStore } from './push-key-store.contract.ts';
import { describeSendLedger } from './send-ledger.contract.ts';
import { describeSubjectStore } from './subject-store.contract.ts';
import { describeTrustedDeviceStore } from './trusted-device-store.contract.ts';

/** What every method of proof and everything that guards them need of a backend. */
export function describeMethodStores(name: string, make: MakeStores): void {
  describeDeliveries(name, make);
  describeMethodProofs(name, make);
  describeEnrolmentProofs(name, make);
  describeIssuedCodes(name, make);
  describeSendLedger(name, make);
  describeTrustedDeviceStore(name, make);
  describeConsentStore(name, make);
  describeSubjectStore(name, make);
  describeNoticeOutbox(name, make);
  describePushKeyStore(name, make);
}
