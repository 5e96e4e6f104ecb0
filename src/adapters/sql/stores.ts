import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ConsentStore } from '#src/ports/consent-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { NoticeOutbox } from '#src/ports/notices.ts';
import type { PushKeyStore } from '#src/ports/push-key-store.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { SigningKeyStore } from '#src/ports/signing-key-store.ts';
import type { SubjectRecords } from '#src/ports/subject-records.ts';
import type { SubjectStore } from '#src/ports/subject-store.ts';
import type { TrustedDeviceStore } from '#src/ports/trusted-device-store.ts';
import { SqlAttemptStore } from './attempt-store.ts';
import { SqlConsentStore } from './consent-store.ts';
import type { SqlExecutor } from './executor.ts';
import { SqlFactorStore } from './factor-store.ts';
import { SqlIssuedCodes } from './issued-code-store.ts';
import { SqlNoticeOutbox } from './notice-outbox.ts';
import { SqlPushKeyStore } from './push-key-store.ts';
import { SqlSendLedger } from './send-ledger.ts';
import { SqlSigningKeyStore } from './signing-key-store.ts';
import { SqlSubjectRecords } from './subject-records.ts';
import { type PersonKeys, SqlSubjectStore } from './subject-store.ts';
import { SqlTrustedDeviceStore } from './trusted-device-store.ts';

/** The stores that need nothing in front of the database, in either mode. */
export interface PlainStores {
  readonly attempts: AttemptStore;
  readonly factors: FactorStore;
  readonly signingKeys: SigningKeyStore;
  readonly codes: IssuedCodes;
  readonly ledger: SendLedger;
  readonly devices: TrustedDeviceStore;
  readonly consents: ConsentStore;
  readonly subjects: SubjectStore;
  readonly records: SubjectRecords;
  readonly notices: NoticeOutbox;
  readonly pushKeys: PushKeyStore;
}

export function plainStores(sql: SqlExecutor, keys: PersonKeys): PlainStores {
  return {
    attempts: new SqlAttemptStore(sql),
    factors: new SqlFactorStore(sql),
    signingKeys: new SqlSigningKeyStore(sql),
    codes: new SqlIssuedCodes(sql),
    ledger: new SqlSendLedger(sql),
    devices: new SqlTrustedDeviceStore(sql),
    consents: new SqlConsentStore(sql),
    subjects: new SqlSubjectStore(sql, keys),
    records: new SqlSubjectRecords(sql),
    notices: new SqlNoticeOutbox(sql),
    pushKeys: new SqlPushKeyStore(sql),
  };
}
